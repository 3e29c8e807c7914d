package main

import (
	"bytes"
	"strings"
	"testing"
)

func TestRun(t *testing.T) {
	t.Setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")
	tests := []struct {
		name   string
		args   []string
		code   int
		stderr []string
	}{
		{"help", []string{"-h"}, 0, []string{"-mirror", "-tag", "-out"}},
		{"unknown flag", []string{"--nothing"}, 2, []string{"nothing"}},
		{"argument", []string{"build"}, 2, []string{`unknown argument "build"`}},
		{"bad name", []string{"--tag", "Upper"}, 1, []string{"name of the node image"}},
		{"no engine", nil, 1, []string{"kindnode: node image rollout-lab/kindnode:", "\nhint: ", "DOCKER_HOST"}},
	}
	for _, tt := range tests {
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
