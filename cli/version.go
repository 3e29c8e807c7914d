package cli

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/rollout-lab/rollout-lab/internal/record"
)

func versionCommand(a *app) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "version", Short: "Print the version", Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			if asJSON {
				t := tool()
				return writeJSON(a.Out, struct {
					record.Tool
					Go   string `json:"go"`
					OS   string `json:"os"`
					Arch string `json:"arch"`
				}{t, runtime.Version(), runtime.GOOS, runtime.GOARCH})
			}
			_, err := fmt.Fprint(a.Out, versionLine())
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// versionLine is what `version` and --version print.
func versionLine() string {
	t := tool()
	return fmt.Sprintf("rollout-lab %s %s %s %s/%s\n", t.Version, t.Commit, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

// tool names this program's version, as the build stamped it.
func tool() record.Tool {
	t := record.Tool{Version: "devel", Commit: "unknown"}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return t
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		t.Version = v
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			t.Commit = s.Value
		}
	}
	return t
}
