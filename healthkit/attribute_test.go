package healthkit

import (
	"errors"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"testing"
)

func TestAttributes(t *testing.T) {
	r := New(Config{})
	c := mustRegister(t, r, "store", Options{})
	c.Ready()
	set := func(key, value string) {
		t.Helper()
		if err := c.SetAttribute(key, value); err != nil {
			t.Error(err)
		}
	}
	attributes := func() map[string]string {
		s, _ := r.Snapshot().Component("store")
		return s.Attributes
	}
	set("shard", "3")
	set("member", "follower\n[+]forged")
	before := attributes()
	set("member", "leader")
	if want := map[string]string{"member": "leader", "shard": "3"}; !maps.Equal(attributes(), want) {
		t.Errorf("got %v, want %v", attributes(), want)
	}
	if before["member"] != "follower\n[+]forged" {
		t.Errorf("an earlier snapshot has changed: %v", before)
	}
	version := r.Version()
	set("member", "leader")
	set("unheard-of", "")
	if got := r.Version(); got != version {
		t.Errorf("saying the same again made version %d of %d", got, version)
	}
	for target, part := range map[string]string{
		"/readyz?verbose":       ", member=leader, shard=3\n",
		"/readyz/store?verbose": ", member=leader, shard=3\n",
		"/statusz":              `"attributes": {` + "\n" + `        "member": "leader",`,
	} {
		if _, body := get(t, r.Handler(), http.MethodGet, target); !strings.Contains(body, part) {
			t.Errorf("%s lacks %q:\n%s", target, part, body)
		}
	}
	set("member", "follower\n[+]forged")
	if _, body := get(t, r.Handler(), http.MethodGet, "/readyz?verbose"); strings.Contains(body, "\n[+]forged") {
		t.Errorf("a line is forged:\n%s", body)
	}
	set("member", "")
	set("shard", "")
	if got := attributes(); len(got) != 0 {
		t.Errorf("got %v, want none", got)
	}
	c.Retract()
	set("shard", "3")
}

func TestAttributesAreBounded(t *testing.T) {
	r := New(Config{})
	c := mustRegister(t, r, "store", Options{})
	for i := range maxAttributes {
		if err := c.SetAttribute("a"+strconv.Itoa(i), strings.Repeat("x", maxAttributeValue)); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		name, key, value string
		want             error
	}{
		{"one too many", "b", "x", ErrOptions},
		{"too long", "a1", strings.Repeat("x", maxAttributeValue+1), ErrOptions},
		{"not UTF-8", "a1", "\xff", ErrOptions},
		{"no key", "", "x", ErrName},
		{"a key that is no name", "a b", "x", ErrName},
		{"another value", "a1", "y", nil},
		{"one less", "a2", "", nil},
		{"one in its place", "b", "x", nil},
	} {
		version := r.Version()
		err := c.SetAttribute(tt.key, tt.value)
		if !errors.Is(err, tt.want) || (err == nil) != (tt.want == nil) {
			t.Errorf("%s: got %v, want %v", tt.name, err, tt.want)
		}
		if got := r.Version() != version; got != (tt.want == nil) {
			t.Errorf("%s: changed something: %v", tt.name, got)
		}
	}
}
