package cli

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/scenarios"
)

func TestValidateReadsStandardInput(t *testing.T) {
	text, err := scenarios.Text("quickstart")
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		text      string
		code      int
		out, errs string
	}{
		{string(text), ExitPass, "-: ok", ""},
		{strings.Replace(string(text), "replicas:", "replcas:", 1), ExitUsage, "", "standard input:"},
		{"", ExitUsage, "", "standard input"},
	} {
		var stdout, stderr bytes.Buffer
		code := Main(t.Context(), []string{"validate", "-"}, Streams{In: strings.NewReader(tc.text), Out: &stdout, Err: &stderr}, Driver{Name: "a", New: func(io.Writer) (drivers.Driver, error) { return absent{}, nil }})
		if code != tc.code || !strings.Contains(stdout.String(), tc.out) || !strings.Contains(stderr.String(), tc.errs) {
			t.Errorf("code %d, %q, %q, want %d, %q, %q", code, stdout.String(), stderr.String(), tc.code, tc.out, tc.errs)
		}
	}
}
