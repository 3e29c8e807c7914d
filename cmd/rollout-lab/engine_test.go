package main

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rollout-lab/rollout-lab/drivers"
)

// TestDriversSpeakOfOneEngine: where the docker command would use a context whose engine is
// gone, no driver finds another one, and each says which is gone.
func TestDriversSpeakOfOneEngine(t *testing.T) {
	config := t.TempDir()
	dead := filepath.Join(config, "dead.sock")
	sum := sha256.Sum256([]byte("dead"))
	meta := filepath.Join(config, "contexts", "meta", hex.EncodeToString(sum[:]), "meta.json")
	if err := os.MkdirAll(filepath.Dir(meta), 0o700); err != nil {
		t.Fatal(err)
	}
	for file, text := range map[string]string{
		filepath.Join(config, "config.json"): `{"currentContext": "dead"}`,
		meta:                                 fmt.Sprintf(`{"Name": "dead", "Endpoints": {"docker": {"Host": "unix://%s"}}}`, dead),
	} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("DOCKER_HOST", "")
	t.Setenv("DOCKER_CONTEXT", "")
	t.Setenv("DOCKER_CONFIG", config)
	for _, driver := range builtin() {
		switch driver.Name {
		case "docker", "kind":
		case "systemd":
			flags := flag.NewFlagSet("systemd", flag.ContinueOnError)
			driver.Flags(flags)
			if err := flags.Parse([]string{"--systemd-host=container"}); err != nil {
				t.Fatal(err)
			}
		default:
			continue
		}
		d, err := driver.New(io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		want := dead + " (docker context dead)"
		if d.Name() == "systemd" && os.Geteuid() != 0 {
			want = "obeys root alone" // which it knows before it looks for an engine
		}
		if _, err := exec.LookPath("docker"); d.Name() == "kind" && err != nil {
			want = err.Error() // likewise
		}
		err = d.Check(t.Context())
		if !errors.Is(err, drivers.ErrUnavailable) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want ErrUnavailable that says %q", d.Name(), err, want)
		}
		if lines := d.(drivers.Describer).Describe(t.Context()); !strings.Contains(strings.Join(lines, "\n"), want) {
			t.Errorf("%s: describes %q, want them to say %q", d.Name(), lines, want)
		}
	}
}
