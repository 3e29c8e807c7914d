package drivers

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
)

// machines are the names of ELF's machines in Go's words.
var machines = map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}

// ExamineExec looks whether the programs that a stack names can be started on this machine,
// which runs Linux: they are there, may be executed, and are ELF programs for its processor or
// scripts with an interpreter that is there. It is for an Examiner.
func ExamineExec(stack Stack) []Finding {
	var out []Finding
	var seen []string
	for _, s := range stack.Services() {
		if s.Exec == "" || slices.Contains(seen, s.Exec) {
			continue
		}
		seen = append(seen, s.Exec)
		if message, hint := examineExec(s.Exec); message != "" {
			out = append(out, Finding{"exec", message, hint, true})
		}
	}
	return out
}

func examineExec(name string) (message, hint string) {
	if info, err := os.Stat(name); err == nil && info.IsDir() {
		return fmt.Sprintf("%s is a folder", name), "name the program in it"
	}
	path, err := exec.LookPath(name)
	switch {
	case errors.Is(err, exec.ErrNotFound):
		return fmt.Sprintf("there is no program %s in PATH", name), "say ./" + name + " for one beside the scenario, or its whole path"
	case errors.Is(err, os.ErrNotExist):
		return fmt.Sprintf("there is no program %s", name), "build it first; a relative path counts from the folder of the scenario's file"
	case errors.Is(err, os.ErrPermission):
		return fmt.Sprintf("%s may not be executed", name), "chmod +x " + filepath.Base(name)
	case err != nil:
		return fmt.Sprintf("program %s cannot be started: %v", name, err), ""
	}
	return examineFormat(path)
}

// examineFormat says what is wrong with the format of a program, "" where nothing is.
func examineFormat(path string) (message, hint string) {
	f, err := os.Open(path)
	if err != nil {
		return "", "" // it may be executed without being read
	}
	defer f.Close()
	head := make([]byte, 256)
	n, err := io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Sprintf("%s is empty", path), "build it again"
	}
	if line, script := bytes.CutPrefix(head[:n], []byte("#!")); script {
		line, _, _ = bytes.Cut(line, []byte("\n"))
		fields := bytes.Fields(line)
		if len(fields) == 0 {
			return fmt.Sprintf("%s begins with #! and names no interpreter", path), "such as #!/bin/sh"
		}
		if _, err := os.Stat(string(fields[0])); err != nil {
			return fmt.Sprintf("%s is a script for %s, which is not here", path, fields[0]), ""
		}
		return "", ""
	}
	program, err := elf.NewFile(f)
	if err != nil {
		return fmt.Sprintf("%s is neither a Linux program (ELF) nor a script with #!", path), "build it for this machine: GOOS=linux GOARCH=" + runtime.GOARCH
	}
	if want, known := machines[runtime.GOARCH]; known && program.Machine != want {
		return fmt.Sprintf("%s is a program for %v, and this machine is %s", path, program.Machine, runtime.GOARCH), "build it for this machine: GOARCH=" + runtime.GOARCH
	}
	return "", ""
}
