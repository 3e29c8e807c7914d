package build

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeEngine answers what is asked of an engine before anything is built.
type fakeEngine struct {
	mu     sync.Mutex
	images map[string]string // keys by tags
}

func (f *fakeEngine) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, path, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/v"), "/")
	var answer any
	switch {
	case r.URL.Path == "/_ping":
		w.Header().Set("Api-Version", "1.41")
		return
	case path == "version":
		answer = map[string]any{"Version": "20.10.0", "ApiVersion": "1.41", "Os": "linux", "Arch": "vax"}
	case path == "images/json":
		answer = f.list(r.FormValue("filters"))
	case r.Method == http.MethodPost && strings.HasPrefix(path, "images/id-of-") && strings.HasSuffix(path, "/tag"):
		from := strings.TrimSuffix(strings.TrimPrefix(path, "images/id-of-"), "/tag")
		f.images[strings.TrimPrefix(r.FormValue("repo"), "docker.io/library/")+":"+r.FormValue("tag")] = f.images[from+":v1"]
		w.WriteHeader(http.StatusCreated)
		return
	default:
		http.Error(w, `{"message":"not expected: `+r.Method+" "+r.URL.Path+`"}`, http.StatusInternalServerError)
		return
	}
	_ = json.NewEncoder(w).Encode(answer)
}

func (f *fakeEngine) list(filter string) []any {
	var conditions map[string]map[string]bool
	if err := json.Unmarshal([]byte(filter), &conditions); err != nil {
		return nil
	}
	found := []any{}
	for tag, key := range f.images {
		label := keyLabel + "=" + key
		if conditions["reference"][tag] || conditions["label"][label] {
			name, _, _ := strings.Cut(tag, ":")
			found = append(found, map[string]any{"Id": "id-of-" + name, "Labels": map[string]string{keyLabel: key}})
		}
	}
	return found
}

func engineWith(t *testing.T, images map[string]string) *fakeEngine {
	t.Helper()
	f := &fakeEngine{images: images}
	server := httptest.NewServer(f)
	t.Cleanup(server.Close)
	t.Setenv("DOCKER_HOST", "tcp://"+server.Listener.Addr().String())
	for _, name := range []string{"DOCKER_API_VERSION", "DOCKER_CERT_PATH", "DOCKER_TLS_VERIFY"} {
		t.Setenv(name, "")
	}
	return f
}

func sourceAndKey(t *testing.T) (string, string) {
	t.Helper()
	source := t.TempDir()
	if err := os.WriteFile(filepath.Join(source, "go.mod"), []byte("module kubeall"), 0o644); err != nil {
		t.Fatal(err)
	}
	b, err := newBuilder(Options{Source: source})
	if err != nil {
		t.Fatal(err)
	}
	k, err := keysOf(source, b.goarch)
	if err != nil {
		t.Fatal(err)
	}
	return source, k.image
}

func TestAnImageOfTheKeyIsNotBuiltAgain(t *testing.T) {
	source, key := sourceAndKey(t)
	cache := filepath.Join(t.TempDir(), "cache")
	for _, tt := range []struct {
		name, tag, want string
		images          map[string]string
	}{
		{"it has the tag", "nodes:v1", "nodes:v1", map[string]string{"nodes:v1": key}},
		{"it has another tag", "mine:v2", "mine:v2", map[string]string{"nodes:v1": key, "mine:v2": "old"}},
		{"the tag is implied", "nodes", "nodes:latest", map[string]string{"nodes:latest": key}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := engineWith(t, tt.images)
			got, err := Ensure(t.Context(), Options{Tag: tt.tag, Source: source, CacheDir: cache})
			if err != nil || got != tt.want {
				t.Fatalf("Ensure = %q, %v, want %q", got, err, tt.want)
			}
			if f.images[tt.want] != key {
				t.Errorf("%s has key %q, want %q", tt.want, f.images[tt.want], key)
			}
			if _, err := os.Stat(cache); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the cache was touched: %v", err)
			}
		})
	}
}

func TestAnOldImageIsNotTakenForTheNewOne(t *testing.T) {
	source, _ := sourceAndKey(t)
	engineWith(t, map[string]string{"nodes:v1": "old"})
	// The fake engine is of no architecture that an image could be built for.
	_, err := Ensure(t.Context(), Options{Tag: "nodes:v1", Source: source, CacheDir: t.TempDir()})
	if err == nil || Hint(err) == "" {
		t.Errorf("error %v with hint %q, want both", err, Hint(err))
	}
}

func TestWithoutSources(t *testing.T) {
	t.Chdir(t.TempDir())
	engineWith(t, map[string]string{"ours:v1": "some key", "theirs:v1": ""})
	var said bytes.Buffer
	tag, err := Ensure(t.Context(), Options{Tag: "ours:v1", Progress: &said})
	if err != nil || tag != "ours:v1" {
		t.Errorf("Ensure = %q, %v, want the image that is there", tag, err)
	}
	if !strings.Contains(said.String(), "up to date") {
		t.Errorf("said %q, want that nobody knows whether it is up to date", &said)
	}
	for _, tag := range []string{"theirs:v1", "none:v1"} {
		if _, err := Ensure(t.Context(), Options{Tag: tag}); !errors.Is(err, ErrNoSource) || Hint(err) == "" {
			t.Errorf("%s: error %v with hint %q, want %v and a hint", tag, err, Hint(err), ErrNoSource)
		}
	}
}

func TestWithoutAnEngine(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	address := server.Listener.Addr().String()
	server.Close()
	t.Setenv("DOCKER_HOST", "tcp://"+address)
	_, err := Ensure(t.Context(), Options{Source: t.TempDir()})
	if err == nil || !strings.Contains(Hint(err), "DOCKER_HOST") {
		t.Errorf("error %v with hint %q, want a hint at DOCKER_HOST", err, Hint(err))
	}
}

func TestABadNameIsRefused(t *testing.T) {
	for _, tag := range []string{"Nodes:v1", "nodes:v1:v2", "nodes@sha256:00"} {
		if _, err := Ensure(t.Context(), Options{Tag: tag}); err == nil {
			t.Errorf("%s is accepted", tag)
		}
	}
}

func TestAnUnfinishedPartIsNeverThere(t *testing.T) {
	c := cache{dir: t.TempDir()}
	broken := errors.New("broken")
	half := func(fail func() error) func(context.Context, string) error {
		return func(_ context.Context, to string) error {
			if err := os.WriteFile(to, []byte("half"), 0o644); err != nil {
				return err
			}
			return fail()
		}
	}
	if err := c.add(t.Context(), "debian-1.tar", half(func() error { return broken })); !errors.Is(err, broken) {
		t.Errorf("error %v, want %v", err, broken)
	}
	ctx, cancel := context.WithCancel(t.Context())
	if err := c.add(ctx, "debian-1.tar", half(func() error { cancel(); return nil })); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want %v", err, context.Canceled)
	}
	if c.has("debian-1.tar") {
		t.Error("an unfinished part is in the cache")
	}
	if err := c.add(t.Context(), "debian-1.tar", half(func() error { return nil })); err != nil {
		t.Fatal(err)
	}
	if got := names(t, c.dir); !slices.Equal(got, []string{"debian-1.tar"}) {
		t.Errorf("the cache has %v, want the part alone", got)
	}
}

func TestSweepKeepsWhatIsInUse(t *testing.T) {
	c := cache{dir: t.TempDir()}
	for _, name := range []string{"tmp-1", "debian-1.tar", "debian-2.tar", "programs-1", "programs-2", lockName, "notes"} {
		if err := os.MkdirAll(filepath.Join(c.path(name), "inner"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.sweepTemporary(); err != nil {
		t.Fatal(err)
	}
	if err := c.sweepOthers("debian-2.tar", "programs-1"); err != nil {
		t.Fatal(err)
	}
	if got, want := names(t, c.dir), []string{"debian-2.tar", lockName, "notes", "programs-1"}; !slices.Equal(got, want) {
		t.Errorf("left %v, want %v", got, want)
	}
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
}

func TestMissingImagesAreAllNamed(t *testing.T) {
	if err := missing([]string{"a", "b"}, []string{"b", "a", "c"}); err != nil {
		t.Error(err)
	}
	err := missing([]string{"a", "b", "c"}, []string{"b"})
	if err == nil || !strings.Contains(err.Error(), "image a ") || !strings.Contains(err.Error(), "image c ") {
		t.Errorf("error %v, want one that names a and c", err)
	}
}

func TestSaveNeedsAnEngine(t *testing.T) {
	engineWith(t, nil)
	if err := Save(t.Context(), "nodes:v1", io.Discard); err == nil {
		t.Error("no error where the engine refuses")
	}
}
