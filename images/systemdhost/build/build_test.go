package build

import (
	"strings"
	"testing"
)

func TestImageIsNamedByItsContent(t *testing.T) {
	tag := func(packages ...string) string { return Of(packages...).Tag() }
	if tag("a", "b") != tag("b", "a", "a") {
		t.Error("the order of the packages makes another image")
	}
	if tag("a") == tag() || !strings.HasPrefix(tag(), repository+":") {
		t.Errorf("with a package more %s, without %s", tag("a"), tag())
	}
}
