package main

import (
	"bytes"
	"strings"
	"testing"
)

func TestRun(t *testing.T) {
	t.Setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")
	for _, tt := range []struct {
		name   string
		args   []string
		code   int
		stderr []string
	}{
		{"help", []string{"-h"}, 0, []string{"-tag", "-packages"}},
		{"unknown flag", []string{"--nothing"}, 2, []string{"nothing"}},
		{"argument", []string{"build"}, 2, []string{`unknown argument "build"`}},
		{"no engine", nil, 1, []string{"systemdhost: ", "/nonexistent/docker.sock", "\nhint: ", "DOCKER_HOST"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			if code := run(t.Context(), tt.args, &stdout, &stderr); code != tt.code {
				t.Errorf("exit code %d, want %d", code, tt.code)
			}
			for _, want := range tt.stderr {
				if !strings.Contains(stderr.String(), want) {
					t.Errorf("stderr %q lacks %q", &stderr, want)
				}
			}
			if stdout.Len() > 0 {
				t.Errorf("stdout %q: only a tag goes there", &stdout)
			}
		})
	}
}
