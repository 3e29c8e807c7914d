package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// What is compared must say yes, or its speed is that of an error.
func TestSubjectsSayYes(t *testing.T) {
	for _, s := range subjects {
		for _, n := range sizes {
			brief, verbose, stop, err := s.open(n)
			if err != nil {
				t.Fatalf("%s: %v", s.name, err)
			}
			for range 2 { // the second one may come from a cache
				if !brief() {
					t.Errorf("%s with %d checks: the brief probe says no", s.name, n)
				}
			}
			// grpc health lists at most 100 services, "" among them.
			limited := s.name == "grpc health, called directly" && n == 100
			if verbose != nil && verbose() == limited {
				t.Errorf("%s with %d checks: the verbose probe says %v", s.name, n, !limited)
			}
			stop()
		}
	}
}

func TestTablesAreWritten(t *testing.T) {
	file := filepath.Join(t.TempDir(), "README.md")
	if err := os.WriteFile(file, []byte("before\n"+beginTables+"old\n"+endTables+"after\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := run(1, 100*time.Microsecond, time.Millisecond, file); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"before\n", "| healthkit | ", "| hellofresh/health-go | ", "| none |", "| grpc health | ", "\nafter\n"} {
		if !bytes.Contains(got, []byte(want)) {
			t.Errorf("the file lacks %q:\n%s", want, got)
		}
	}
	if strings.Contains(string(got), "old\n") {
		t.Error("the old tables are still there")
	}
	if err := os.WriteFile(file, []byte("no markers\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := replaceTables(file, nil); err == nil {
		t.Error("a file without a place for the tables was taken")
	}
}
