package build

import (
	"crypto/sha256"
	"embed"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// recipe is this package. What it does to its inputs is an input.
//
//go:embed *.go
var recipe embed.FS

// keys name what is made by what it is made from. The Go toolchain and the state of the
// mirror are not in them: they would make an image that was carried to another machine
// look old there.
type keys struct {
	debian, programs, image string
}

func keysOf(source, goarch string) (keys, error) {
	programs := newKey("programs", goarch)
	programs.add(linkerFlags()...)
	if err := programs.addFiles(os.DirFS(source)); err != nil {
		return keys{}, fmt.Errorf("hash %s: %w", source, err)
	}
	debian := newKey("debian", goarch)
	debian.add(system(goarch, "").Recipe()...)

	k := keys{debian: debian.sum(), programs: programs.sum()}
	image := newKey("image", k.debian, k.programs)
	for _, files := range []fs.FS{recipe, rootfs} {
		if err := image.addFiles(files); err != nil {
			return keys{}, fmt.Errorf("hash the recipe: %w", err)
		}
	}
	k.image = image.sum()
	return k, nil
}

// key is a hash under construction, of strings whose borders count.
type key struct{ parts []string }

func newKey(parts ...string) *key { return &key{parts} }

func (k *key) add(parts ...string) { k.parts = append(k.parts, parts...) }

// addFiles adds the names and contents of all files but tests.
func (k *key) addFiles(files fs.FS) error {
	return fs.WalkDir(files, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasSuffix(name, "_test.go") {
			return err
		}
		content, err := fs.ReadFile(files, name)
		if err != nil {
			return err
		}
		k.add(name, string(content))
		return nil
	})
}

func (k *key) sum() string {
	h := sha256.New()
	for _, p := range k.parts {
		var size [8]byte
		binary.BigEndian.PutUint64(size[:], uint64(len(p)))
		h.Write(size[:])
		h.Write([]byte(p))
	}
	return hex.EncodeToString(h.Sum(nil))[:24]
}
