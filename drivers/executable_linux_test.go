package drivers

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestProgramsThatCannotBeStarted(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	shell, err := exec.LookPath("sh")
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	foreign[18], foreign[19] = 0x16, 0 // e_machine: s390
	for name, want := range map[string]string{
		self: "", shell: "", "sh": "", write("script", "#!/bin/sh\n", 0o755): "",
		filepath.Join(dir, "none"):                 "there is no program",
		"no-such-program-anywhere":                 "in PATH",
		dir:                                        "is a folder",
		write("plain", "#!/bin/sh\n", 0o644):       "may not be executed",
		write("text", "hello, world\n", 0o755):     "neither a Linux program (ELF) nor a script",
		write("empty", "", 0o755):                  "is empty",
		write("lost", "#!/no/such/shell\n", 0o755): "a script for /no/such/shell",
		write("nobody", "#!\n", 0o755):             "names no interpreter",
		write("foreign", string(foreign), 0o755):   "is a program for EM_S390",
	} {
		found := ExamineExec(Stack{Subject: Service{Name: "web", Exec: name}})
		switch {
		case want == "" && found != nil:
			t.Errorf("%s: %+v", name, found)
		case want != "" && (len(found) != 1 || !found[0].Fatal || !strings.Contains(found[0].Message, want)):
			t.Errorf("%s: %+v, want %q", name, found, want)
		}
	}
}
