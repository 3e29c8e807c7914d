package healthkit

import (
	"fmt"
	"maps"
	"slices"
	"unicode/utf8"
)

// Bounds of the attributes of a component.
const (
	maxAttributes     = 16
	maxAttributeValue = 128
)

// SetAttribute says something about the component that is no state, such as member=leader: it
// changes no verdict. It is shown with the component in every snapshot, to everybody who may see
// its name, so it must be no secret. An empty value takes it away.
//
// The key is built like a name (ErrName). A component has at most 16 attributes, of at most 128
// bytes of UTF-8 each; for more the error wraps ErrOptions, and nothing changes. After Retract
// it does nothing.
func (c *Component) SetAttribute(key, value string) error {
	if err := checkName(key); err != nil {
		return fmt.Errorf("attribute of %s: %w", c.name, err)
	}
	if len(value) > maxAttributeValue || !utf8.ValidString(value) {
		return fmt.Errorf("attribute %s of %s: %w: %d bytes, want at most %d of UTF-8", key, c.name, ErrOptions, len(value), maxAttributeValue)
	}
	now := c.r.lock()
	defer c.r.mu.Unlock()
	old, had := c.attributes[key]
	if c.retracted || old == value {
		return nil
	}
	if value != "" && !had && len(c.attributes) == maxAttributes {
		return fmt.Errorf("attribute %s of %s: %w: there are %d already", key, c.name, ErrOptions, maxAttributes)
	}
	// Snapshots have the old one.
	next := maps.Clone(c.attributes)
	if next == nil {
		next = make(map[string]string)
	}
	if next[key] = value; value == "" {
		delete(next, key)
	}
	c.attributes = next
	c.r.changed(now)
	return nil
}

// attributeText is the attributes of a component for people, in the order of their keys.
func (c ComponentStatus) attributeText() string {
	text := ""
	for _, key := range slices.Sorted(maps.Keys(c.Attributes)) {
		text += ", " + key + "=" + c.Attributes[key]
	}
	return text
}
