package build

import (
	"archive/tar"
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rollout-lab/rollout-lab/images/debian"
)

// treeOf makes a tree of files by their content; "-> target" makes a link, and a name that
// ends in a slash a directory.
func treeOf(files map[string]string) tree {
	t := tree{}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		target, isLink := strings.CutPrefix(files[name], "-> ")
		switch {
		case strings.HasSuffix(name, "/"):
			t.dir(strings.TrimSuffix(name, "/"), 0o755)
		case isLink:
			t.link(name, target)
		default:
			t.file(name, 0o644, text(files[name]))
		}
	}
	return t
}

func written(t *testing.T, files tree) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := files.write(&out); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func readBack(t *testing.T, doc []byte) tree {
	t.Helper()
	r := bytes.NewReader(doc)
	files, err := readTree(r, r)
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func contentOf(t *testing.T, e entry) string {
	t.Helper()
	if e.content == nil {
		t.Fatalf("no content in %+v", e)
	}
	b, err := io.ReadAll(io.NewSectionReader(e.content, 0, e.content.Size()))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestTreesAreWrittenAlikeWhateverTheOrder(t *testing.T) {
	a, b := tree{}, tree{}
	a.file("etc/hosts", 0o644, text("localhost"))
	a.link("bin", "usr/bin")
	a.file("usr/bin/ip", 0o755, text("ip"))
	b.file("usr/bin/ip", 0o755, text("ip"))
	b.file("etc/hosts", 0o644, text("localhost"))
	b.link("bin", "usr/bin")
	first, second := written(t, a), written(t, b)
	if !bytes.Equal(first, second) {
		t.Error("two tars of one tree differ")
	}
	if again := written(t, readBack(t, first)); !bytes.Equal(first, again) {
		t.Error("a tree that was read back is written differently")
	}
	b.file("etc/hosts", 0o600, text("localhost"))
	if bytes.Equal(first, written(t, b)) {
		t.Error("a changed mode changes nothing")
	}
}

func TestParentsComeBeforeTheirChildren(t *testing.T) {
	doc := written(t, treeOf(map[string]string{"a/b/c": "", "a-b": "", "a/b-c": ""}))
	seen := map[string]bool{".": true}
	for r := tar.NewReader(bytes.NewReader(doc)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimSuffix(h.Name, "/")
		if !seen[filepath.ToSlash(filepath.Dir(name))] {
			t.Errorf("%s comes before its directory", name)
		}
		seen[name] = true
		if !h.ModTime.Equal(time.Unix(debian.Epoch, 0)) {
			t.Errorf("%s is of %v", name, h.ModTime)
		}
	}
	if len(seen) != 6 {
		t.Errorf("entries %v, want a, a/b, a/b/c, a-b, a/b-c", slices.Sorted(maps.Keys(seen)))
	}
}

func TestResolve(t *testing.T) {
	files := treeOf(map[string]string{
		"usr/lib/x.so.1.2": "x", "usr/lib/x.so.1": "-> x.so.1.2", "lib": "-> usr/lib", "abs": "-> /usr/lib/x.so.1",
		"up": "-> usr/../usr/lib/../lib/x.so.1", "loop": "-> loop", "gone": "-> nowhere",
	})
	tests := []struct{ name, want string }{
		{"usr/lib/x.so.1", "usr/lib/x.so.1.2"},
		{"lib/x.so.1", "usr/lib/x.so.1.2"},
		{"/lib/x.so.1", "usr/lib/x.so.1.2"},
		{"abs", "usr/lib/x.so.1.2"},
		{"up", "usr/lib/x.so.1.2"},
		{"lib", "usr/lib"},
		{"loop", ""},
		{"gone", ""},
		{"lib/none", ""},
	}
	for _, tt := range tests {
		got, _, ok := files.resolve(tt.name)
		if got != tt.want || ok != (tt.want != "") {
			t.Errorf("resolve(%s) = %q, %v, want %q", tt.name, got, ok, tt.want)
		}
	}
}

func TestAFileGoesWhereLinksLead(t *testing.T) {
	files := treeOf(map[string]string{"lib": "-> usr/lib", "usr/lib/": ""})
	files.file("lib/ld.so", 0o755, text("ld"))
	if _, ok := files["usr/lib/ld.so"]; !ok {
		t.Errorf("entries %v, want usr/lib/ld.so", slices.Sorted(maps.Keys(files)))
	}
	if files["lib"].kind != tar.TypeSymlink {
		t.Error("the link was replaced")
	}
}

func TestRemove(t *testing.T) {
	files := treeOf(map[string]string{"a/x": "", "a/y/z": "", "ab/x": "", "c/x": ""})
	if err := files.remove("a", "*/none"); err == nil {
		t.Error("no error for a pattern that matches nothing")
	}
	if err := files.remove("c/*"); err != nil {
		t.Fatal(err)
	}
	if got, want := slices.Sorted(maps.Keys(files)), []string{"ab", "ab/x", "c"}; !slices.Equal(got, want) {
		t.Errorf("left %v, want %v", got, want)
	}
}

func TestDirectoriesAreWrittenAlike(t *testing.T) {
	make := func() string {
		dir := t.TempDir()
		for _, name := range []string{"etc/keep", "log/drop", "usr/bin/ip"} {
			if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, name), []byte(name), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		return dir
	}
	pack := func(dir string) []byte {
		var out bytes.Buffer
		if err := debian.Pack(&out, dir, func(name string) bool { return name != "log" }); err != nil {
			t.Fatal(err)
		}
		return out.Bytes()
	}
	first, other := make(), make()
	if err := os.Chtimes(filepath.Join(other, "etc/keep"), time.Unix(1, 0), time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	doc := pack(first)
	if !bytes.Equal(doc, pack(other)) {
		t.Error("two directories with the same files are written differently")
	}
	files := readBack(t, doc)
	if got, want := slices.Sorted(maps.Keys(files)), []string{"etc", "etc/keep", "usr", "usr/bin", "usr/bin/ip"}; !slices.Equal(got, want) {
		t.Errorf("entries %v, want %v", got, want)
	}
	if got := contentOf(t, files["etc/keep"]); got != "etc/keep" {
		t.Errorf("etc/keep has %q", got)
	}
}

// elfFile is a program or library as far as its wishes to the dynamic loader go.
func elfFile(t *testing.T, loader string, needed ...string) string {
	t.Helper()
	const headers = 64 + 56
	var body, names, dyn bytes.Buffer
	names.WriteByte(0)
	for _, lib := range needed {
		if err := binary.Write(&dyn, binary.LittleEndian, elf.Dyn64{Tag: int64(elf.DT_NEEDED), Val: uint64(names.Len())}); err != nil {
			t.Fatal(err)
		}
		names.WriteString(lib + "\x00")
	}
	if err := binary.Write(&dyn, binary.LittleEndian, elf.Dyn64{}); err != nil {
		t.Fatal(err)
	}
	place := func(content []byte) (offset, size uint64) {
		offset, size = uint64(headers+body.Len()), uint64(len(content))
		body.Write(content)
		return offset, size
	}
	prog := elf.Prog64{Type: uint32(elf.PT_NULL)}
	if loader != "" {
		prog.Type = uint32(elf.PT_INTERP)
		prog.Off, prog.Filesz = place([]byte(loader + "\x00"))
	}
	strtab := elf.Section64{Type: uint32(elf.SHT_STRTAB)}
	strtab.Off, strtab.Size = place(names.Bytes())
	dynamic := elf.Section64{Type: uint32(elf.SHT_DYNAMIC), Link: 1}
	dynamic.Off, dynamic.Size = place(dyn.Bytes())

	h := elf.Header64{
		Ident: [16]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)},
		Type:  uint16(elf.ET_DYN), Machine: uint16(elf.EM_X86_64), Version: uint32(elf.EV_CURRENT),
		Phoff: 64, Phentsize: 56, Phnum: 1, Ehsize: 64,
		Shoff: uint64(headers + body.Len()), Shentsize: 64, Shnum: 3, Shstrndx: 1,
	}
	var out bytes.Buffer
	for _, part := range []any{h, prog, body.Bytes(), elf.Section64{}, strtab, dynamic} {
		if err := binary.Write(&out, binary.LittleEndian, part); err != nil {
			t.Fatal(err)
		}
	}
	return out.String()
}

func TestLibrariesAreFoundWithWhatTheyNeed(t *testing.T) {
	files := treeOf(map[string]string{
		"lib":                 "-> usr/lib",
		"usr/bin/nft":         elfFile(t, "/lib/ld.so", "liba.so.1"),
		"usr/lib/p/x.so":      elfFile(t, "", "libm.so.6"),
		"usr/lib/ld.so":       elfFile(t, ""),
		"usr/lib/liba.so.1":   "-> liba.so.1.0",
		"usr/lib/liba.so.1.0": elfFile(t, "", "libb.so.2", "libm.so.6"),
		"usr/lib/t/libb.so.2": elfFile(t, "", "liba.so.1"),
		"usr/lib/libm.so.6":   elfFile(t, ""),
	})
	got, err := files.libraries([]string{"usr/bin/nft", "usr/lib/p/x.so"}, []string{"usr/lib/t", "usr/lib"})
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"lib/ld.so", "usr/lib/liba.so.1", "usr/lib/libm.so.6", "usr/lib/t/libb.so.2"}; !slices.Equal(got, want) {
		t.Errorf("libraries %v, want %v", got, want)
	}
	if _, err := files.libraries([]string{"usr/bin/nft"}, []string{"usr/lib"}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without libb: error %v, want one of %v", err, fs.ErrNotExist)
	}
}
