package dockerengine

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/docker/docker/client"

	"github.com/rollout-lab/rollout-lab/drivers"
)

func TestFind(t *testing.T) {
	home := t.TempDir()
	write := func(name, content string) {
		t.Helper()
		file := filepath.Join(home, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	id := func(name string) string {
		sum := sha256.Sum256([]byte(name))
		return hex.EncodeToString(sum[:])
	}
	write("config.json", `{"currentContext": "mine"}`)
	write("contexts/meta/"+id("mine")+"/meta.json", `{"Name": "mine", "Endpoints": {"docker": {"Host": "unix:///mine.sock"}}}`)
	write("contexts/meta/"+id("far")+"/meta.json", `{"Endpoints": {"docker": {"Host": "tcp://far:2376"}}}`)
	write("contexts/tls/"+id("far")+"/docker/ca.pem", "")
	write("contexts/meta/"+id("empty")+"/meta.json", `{}`)
	for name, c := range map[string]struct {
		variables map[string]string
		want      Address
		fails     bool
	}{
		"DOCKER_HOST":        {map[string]string{"DOCKER_HOST": "unix:///given.sock", "DOCKER_CONTEXT": "far"}, Address{Host: "unix:///given.sock"}, false},
		"current context":    {nil, Address{Host: "unix:///mine.sock", Context: "mine"}, false},
		"DOCKER_CONTEXT":     {map[string]string{"DOCKER_CONTEXT": "far"}, Address{"tcp://far:2376", filepath.Join(home, "contexts/tls", id("far"), "docker"), "far"}, false},
		"no such context":    {map[string]string{"DOCKER_CONTEXT": "nowhere"}, Address{}, true},
		"context of nothing": {map[string]string{"DOCKER_CONTEXT": "empty"}, Address{}, true},
	} {
		t.Run(name, func(t *testing.T) {
			for _, v := range []string{"DOCKER_HOST", "DOCKER_CONTEXT"} {
				t.Setenv(v, c.variables[v])
			}
			t.Setenv("DOCKER_CONFIG", home)
			got, err := Find()
			if got != c.want || (err != nil) != c.fails {
				t.Errorf("got %+v, %v; want %+v, an error: %t", got, err, c.want, c.fails)
			}
		})
	}
}

// TestVariables: the docker command, left alone, looks at its default socket and nowhere
// else.
func TestVariables(t *testing.T) {
	for name, c := range map[string]struct {
		address Address
		given   string // as DOCKER_HOST
		want    string
	}{
		"default socket":   {Address{Host: client.DefaultDockerHost}, "", ""},
		"DOCKER_HOST":      {Address{Host: "unix:///mine.sock"}, "unix:///mine.sock", ""},
		"context":          {Address{Host: "unix:///mine.sock", Context: "mine"}, "", ""},
		"found by the lab": {Address{Host: "unix:///run/user/1000/docker.sock"}, "", "unix:///run/user/1000/docker.sock"},
	} {
		t.Setenv("DOCKER_HOST", c.given)
		if got := c.address.Variables()["DOCKER_HOST"]; got != c.want {
			t.Errorf("%s: DOCKER_HOST=%q, want %q", name, got, c.want)
		}
	}
}

func TestOnThisMachine(t *testing.T) {
	for h, want := range map[string]bool{
		"unix:///var/run/docker.sock":    true,
		"npipe:////./pipe/docker_engine": true,
		"tcp://127.0.0.1:2375":           true,
		"tcp://localhost:2375":           true,
		"tcp://[::1]:2375":               true,
		"tcp://10.0.0.1:2375":            false,
		"ssh://me@build.example":         false,
	} {
		if err := (Address{Host: h}).onThisMachine(); (err == nil) != want {
			t.Errorf("%s: got %v, want it to be on this machine: %t", h, err, want)
		}
	}
}

// fakeEngine answers with this version and refuses everything else.
func fakeEngine(t *testing.T, version string) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/_ping":
			w.Header().Set("Api-Version", "1.41")
		case strings.HasSuffix(r.URL.Path, "/version"):
			_, _ = io.WriteString(w, version) // the test's own connection
		default:
			http.Error(w, `{"message":"not expected: `+r.URL.Path+`"}`, http.StatusInternalServerError)
		}
	}))
	t.Cleanup(server.Close)
	t.Setenv("DOCKER_HOST", "tcp://"+server.Listener.Addr().String())
	for _, name := range []string{"DOCKER_API_VERSION", "DOCKER_CERT_PATH", "DOCKER_TLS_VERIFY"} {
		t.Setenv(name, "")
	}
}

func TestDial(t *testing.T) {
	for name, c := range map[string]struct {
		version string
		refused string // "" when it is not
	}{
		"oldest":   {`{"Version":"20.10.0","ApiVersion":"1.41","Os":"linux","Arch":"arm64"}`, ""},
		"too old":  {`{"Version":"19.03.1","ApiVersion":"1.40","Os":"linux","Arch":"arm64"}`, "speaks API 1.40"},
		"windows":  {`{"Version":"28.0.0","ApiVersion":"1.48","Os":"windows","Arch":"amd64"}`, "containers of windows"},
		"nonsense": {`<html>`, "invalid character"},
	} {
		t.Run(name, func(t *testing.T) {
			fakeEngine(t, c.version)
			e, err := DialLocal(t.Context())
			if c.refused == "" {
				if err != nil {
					t.Fatal(err)
				}
				defer e.Close()
				if e.Version != "20.10.0" || e.Arch != "arm64" || e.ClientVersion() != "1.41" {
					t.Errorf("found %v on %s", e, e.Arch)
				}
				return
			}
			var hint *drivers.HintError
			if !errors.Is(err, drivers.ErrUnavailable) || !errors.As(err, &hint) || !strings.Contains(err.Error(), c.refused) {
				t.Errorf("got %v, want ErrUnavailable with a hint that says %q", err, c.refused)
			}
		})
	}
}

// TestFarAway: an engine of another machine is refused before it is asked for anything by
// who needs it here, and by nobody else.
func TestFarAway(t *testing.T) {
	t.Setenv("DOCKER_HOST", "tcp://192.0.2.1:2375")
	if _, err := DialLocal(t.Context()); err == nil || !strings.Contains(err.Error(), "another machine") {
		t.Errorf("got %v, want it refused", err)
	}
}

func TestReadProgress(t *testing.T) {
	for in, want := range map[string]string{
		`{"stream":"Loaded image"}` + "\n":                      "",
		`{"status":"a"}{"error":"no space left"}{"status":"b"}`: "no space left",
		`{"status":`: "unexpected EOF",
	} {
		err := readProgress(strings.NewReader(in), nil)
		if want == "" && err != nil || want != "" && (err == nil || err.Error() != want) {
			t.Errorf("%q: got %v, want %q", in, err, want)
		}
	}
}

func TestImportedID(t *testing.T) {
	for _, tt := range []struct{ name, answer, want, err string }{
		{"done", `{"status":"Importing"}` + "\r\n" + `{"status":"sha256:01"}`, "sha256:01", ""},
		{"error", `{"status":"sha256:01"}{"error":"no space left"}`, "", "no space left"},
		{"nothing", ``, "", "named no image"},
		{"cut off", `{"status":`, "", "unexpected EOF"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := importedID(strings.NewReader(tt.answer))
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("error %v, want %q", err, tt.err)
				}
				return
			}
			if err != nil || got != tt.want {
				t.Errorf("importedID = %q, %v, want %q", got, err, tt.want)
			}
		})
	}
}

// TestStreaming: whichever side fails is the one whose error is returned, nobody hangs, and
// a reader that has enough is no failure.
func TestStreaming(t *testing.T) {
	broken, full := errors.New("broken"), errors.New("no space left")
	endless := func(w io.Writer) error {
		for {
			if _, err := w.Write([]byte("x")); err != nil {
				return err
			}
		}
	}
	all := func(r io.Reader) error {
		_, err := io.Copy(io.Discard, r)
		return err
	}
	for name, c := range map[string]struct {
		write func(io.Writer) error
		read  func(io.Reader) error
		want  error
	}{
		"all is well":       {func(w io.Writer) error { _, err := w.Write([]byte("x")); return err }, all, nil},
		"the writer fails":  {func(io.Writer) error { return broken }, all, broken},
		"the reader fails":  {endless, func(io.Reader) error { return full }, full},
		"the reader is fed": {endless, func(r io.Reader) error { _, err := r.Read(make([]byte, 1)); return err }, nil},
	} {
		if err := streaming(c.write, c.read); err != c.want {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestProgram(t *testing.T) {
	p := Program{Content: []byte("a program"), Path: "/program", Arch: "arm64", Labels: map[string]string{"a": "b"}}
	image := must(p.Image())
	if a, b := must(image.Digest()), must(must(p.Image()).Digest()); a != b {
		t.Errorf("the same program makes %s, then %s", a, b)
	}
	config := must(image.ConfigFile())
	if config.OS != "linux" || config.Architecture != "arm64" || strings.Join(config.Config.Entrypoint, " ") != "/program" || config.Config.Labels["a"] != "b" {
		t.Errorf("configuration %+v", config)
	}
	layers := must(image.Layers())
	if len(layers) != 1 {
		t.Fatalf("%d layers, want 1", len(layers))
	}
	files := tar.NewReader(must(layers[0].Uncompressed()))
	if h, err := files.Next(); err != nil || h.Name != "tmp/" || h.Mode != 0o1777 {
		t.Fatalf("first %+v, %v, want a folder for temporary files", h, err)
	}
	h, err := files.Next()
	if err != nil || h.Name != "program" || h.Mode != 0o755 {
		t.Fatalf("file %+v, %v", h, err)
	}
	if text := must(io.ReadAll(files)); string(text) != "a program" {
		t.Errorf("it holds %q", text)
	}
}
