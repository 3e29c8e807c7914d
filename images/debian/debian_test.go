package debian

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/rollout-lab/rollout-lab/drivers"
)

func TestAMirrorOutOfReachHasAHint(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(server.Close)
	err := reachMirror(t.Context(), server.URL, "bookworm")
	var h *drivers.HintError
	if !errors.As(err, &h) || !strings.Contains(err.Error(), "404") || !strings.Contains(h.Hint, "name a mirror") {
		t.Errorf("error %v, want the status, and a hint at another mirror", err)
	}
	if err := reachMirror(t.Context(), "file:/srv/debian", "bookworm"); err != nil {
		t.Errorf("a directory: %v", err)
	}
}

func TestMirrorOfThisMachine(t *testing.T) {
	for _, tt := range []struct {
		find func(string) string
		line string
		want string
	}{
		{deb822Mirror, "URIs: http://one.example/debian http://two.example/debian\n", "http://one.example/debian"},
		{deb822Mirror, "Suites: bookworm\n", ""},
		{deb822Mirror, "URIs:\n", ""},
		{listMirror, "deb [signed-by=/k] http://one.example/debian bookworm main\n", "http://one.example/debian"},
		{listMirror, "# deb http://one.example/debian bookworm main\n", ""},
		{listMirror, "\n", ""},
		{listMirror, "deb cdrom:[x]/ bookworm main\n", ""},
	} {
		if got := tt.find(tt.line); got != tt.want {
			t.Errorf("%q: got %q, want %q", tt.line, got, tt.want)
		}
	}
	if Mirror() == "" {
		t.Error("no mirror at all")
	}
}

// TestRecipe: whatever makes another system is in the recipe.
func TestRecipe(t *testing.T) {
	all := strings.Join(System{Suite: "bookworm", Packages: []string{"systemd", "dbus"}, Arch: "arm64"}.Recipe(), " ")
	for _, want := range []string{"bookworm", "systemd,dbus", "arm64", "var/log/*"} {
		if !strings.Contains(all, want) {
			t.Errorf("recipe %q lacks %s", all, want)
		}
	}
}
