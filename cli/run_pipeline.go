package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/pflag"
)

// labelFlags say what a run is a run of.
type labelFlags struct{ texts []string }

func (f *labelFlags) register(fl *pflag.FlagSet) {
	fl.StringArrayVar(&f.texts, "label", nil, "k=v, says in every report what was run, such as commit=1a2b3c4")
}

// labels turns k=v into a map.
func (f *labelFlags) labels() (map[string]string, error) {
	all := map[string]string{}
	for _, text := range f.texts {
		k, v, ok := strings.Cut(text, "=")
		if !ok || k == "" {
			return nil, &usageError{fmt.Errorf("--label %q: want k=v", text), ""}
		}
		if _, twice := all[k]; twice {
			return nil, &usageError{fmt.Errorf("--label %s is given twice", k), ""}
		}
		all[k] = v
	}
	return all, nil
}
