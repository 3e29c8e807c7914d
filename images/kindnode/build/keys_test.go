package build

import (
	"os"
	"path/filepath"
	"testing"
	"testing/fstest"
)

func TestKeysFollowTheSources(t *testing.T) {
	source := t.TempDir()
	write := func(name, content string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(source, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	keysNow := func(goarch string) keys {
		t.Helper()
		k, err := keysOf(source, goarch)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	write("go.mod", "module kubeall")
	first := keysNow("amd64")
	if again := keysNow("amd64"); again != first {
		t.Errorf("keys %v, then %v, of the same files", first, again)
	}
	write("main_test.go", "package main")
	if again := keysNow("amd64"); again != first {
		t.Errorf("keys %v, then %v, with a test more", first, again)
	}
	write("main.go", "package main")
	changed := keysNow("amd64")
	if changed.programs == first.programs || changed.image == first.image || changed.debian != first.debian {
		t.Errorf("keys %v, then %v, with a source more: want other programs and image and the same Debian", first, changed)
	}
	other := keysNow("arm64")
	if other.programs == changed.programs || other.image == changed.image || other.debian == changed.debian {
		t.Errorf("keys %v and %v of two architectures", changed, other)
	}
}

func TestKeysOfFilesSeeEveryChange(t *testing.T) {
	sum := func(files fstest.MapFS) string {
		t.Helper()
		k := newKey("x")
		if err := k.addFiles(files); err != nil {
			t.Fatal(err)
		}
		return k.sum()
	}
	seen := map[string]string{}
	for name, files := range map[string]fstest.MapFS{
		"one":     {"a": {Data: []byte("1")}},
		"content": {"a": {Data: []byte("2")}},
		"name":    {"b": {Data: []byte("1")}},
		"two":     {"a": {Data: []byte("1")}, "b": {Data: []byte("")}},
		"border":  {"a1": {Data: []byte("")}},
	} {
		key := sum(files)
		if other, ok := seen[key]; ok {
			t.Errorf("%s and %s have the same key", name, other)
		}
		seen[key] = name
	}
}

func TestThePackagesOwnSourcesAreInTheKey(t *testing.T) {
	if _, err := recipe.ReadFile("node.go"); err != nil {
		t.Error(err)
	}
	if len(system("amd64", "").Recipe()) == 0 || len(linkerFlags()) == 0 {
		t.Error("an input of the keys is empty")
	}
}
