package cli

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/rollout-lab/rollout-lab/internal/metric"
	"github.com/rollout-lab/rollout-lab/scenarios"
)

// complete tells shells what can stand where: scenarios, designs, drivers, metrics, and the
// words of flags that are one of a few.
func complete(root *cobra.Command, a *app) {
	flags := map[string]cobra.CompletionFunc{
		"driver": listOf(func([]string) []string { return a.driverNames() }),
		"design": listOf(a.designsOf),
		"gate":   gateWords,
		"suite":  listOf(func([]string) []string { return suiteNames() }),
	}
	for _, cmd := range root.Commands() {
		switch cmd.Name() {
		case "run", "validate", "show":
			cmd.ValidArgsFunction = scenarioNames
		case "schema":
			cmd.ValidArgs = []string{"scenario", "results"}
		case "report":
			cmd.ValidArgsFunction = func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
				return nil, cobra.ShellCompDirectiveFilterDirs
			}
		}
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			words := flags[f.Name]
			if c, ok := f.Value.(*choice); ok {
				words = cobra.FixedCompletions(c.of, cobra.ShellCompDirectiveNoFileComp)
			}
			if words == nil {
				return
			}
			if err := cmd.RegisterFlagCompletionFunc(f.Name, words); err != nil {
				panic("cli: " + err.Error()) // the flag is there, and has none yet
			}
		})
	}
}

// scenarioNames completes names of the catalogue; where none fits, shells complete files.
func scenarioNames(_ *cobra.Command, given []string, word string) (out []string, _ cobra.ShellCompDirective) {
	for _, name := range scenarios.Names() {
		if strings.HasPrefix(name, word) && !slices.Contains(given, name) {
			out = append(out, name)
		}
	}
	return out, cobra.ShellCompDirectiveDefault
}

// listOf completes a list with commas, each of which is said once.
func listOf(all func(args []string) []string) cobra.CompletionFunc {
	return func(_ *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
		before := word[:strings.LastIndex(word, ",")+1]
		var out []string
		for _, name := range all(args) {
			if strings.HasPrefix(before+name, word) && !slices.Contains(strings.Split(before, ","), name) {
				out = append(out, before+name)
			}
		}
		return out, cobra.ShellCompDirectiveNoFileComp
	}
}

// designsOf are the designs that scenarios can be run with: their own and the builtin ones.
func (a *app) designsOf(args []string) []string {
	var names []string
	for _, arg := range args {
		s, err := scenarios.Load(arg, scenarios.Options{Drivers: a.driverNames()})
		if err != nil {
			continue // the run says it
		}
		for _, d := range s.Designs {
			names = append(names, d.Name)
		}
		if !s.Target.Own() {
			names = append(names, scenarios.BuiltinDesigns()...)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// gateWords completes a limit up to its number.
func gateWords(_ *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	var out []string
	for _, m := range metric.All() {
		op := "<="
		if m.Better == metric.Higher {
			op = ">="
		}
		out = append(out, cobra.CompletionWithDesc(m.Name+op, m.Words))
	}
	return out, cobra.ShellCompDirectiveNoSpace | cobra.ShellCompDirectiveNoFileComp
}
