package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/rollout-lab/rollout-lab/internal/starter"
	"github.com/rollout-lab/rollout-lab/scenarios"
)

func showCommand(a *app) *cobra.Command {
	var resolved bool
	var vars []string
	cmd := &cobra.Command{
		Use: "show SCENARIO", Short: "Print a scenario of the catalogue as it is written",
		Long: "Prints a scenario of the catalogue as it is written, comments and all: a start for one's own.\nWith --resolved any scenario in full: variables filled in, designs resolved, nothing left out.",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return &usageError{fmt.Errorf("%s needs one scenario", cmd.CommandPath()), "rollout-lab list shows the catalogue"}
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error {
			values, secret, err := parseVars(vars)
			if err != nil {
				return err
			}
			if !resolved && len(values) > 0 {
				return &usageError{errors.New("--var fills in variables, which are printed as they are written"), "say --resolved as well"}
			}
			if !resolved {
				text, err := scenarios.Text(args[0])
				if err != nil {
					return err
				}
				_, err = a.Out.Write(text)
				return err
			}
			s, err := scenarios.Load(args[0], scenarios.Options{Vars: values, Secret: secret, Drivers: a.driverNames()})
			if err != nil {
				return err
			}
			_, err = io.WriteString(a.Out, s.Source)
			return err
		},
	}
	cmd.Flags().BoolVar(&resolved, "resolved", false, "print it in full, with everything filled in")
	cmd.Flags().StringArrayVar(&vars, "var", nil, "k=v, fills in ${k} of the scenario; with --resolved")
	return cmd
}

// initFlags are the flags of `init`.
type initFlags struct {
	drivers driverFlags
	ask     starter.Ask
	out     string
	force   bool
}

func initCommand(a *app) *cobra.Command {
	f := initFlags{drivers: driverFlags{app: a}}
	cmd := &cobra.Command{
		Use: "init (--exec FILE | --image NAME | --manifests DIR | --url URL) [-- ARGS...]", Short: "Write a scenario for a service of your own",
		Long: `Writes a commented scenario that runs as it stands, with the designs as-it-is and drained, to
stdout or to a file. It looks at the service first: a program or an image is started for a
moment to find out how it is told where to listen and what it answers, manifests are read, an
address is asked once. Where that is not enough, say it: what stands after -- are the arguments
of the program, with ${listen.data} for host:port and ${port.data} for the number alone, or,
with --url, the command that changes what answers there.`,
		Example: "  rollout-lab init --exec ./shop -o shop.yaml\n  rollout-lab init --exec ./shop -- --addr '${listen.data}'\n  rollout-lab init --image shop:1 --port 8080\n  rollout-lab init --manifests deploy/\n  rollout-lab init --url http://127.0.0.1:8080 -- ./restart.sh",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 && cmd.ArgsLenAtDash() != 0 {
				return &usageError{fmt.Errorf("%s takes no argument, got %q", cmd.CommandPath(), args[0]), "the service's own arguments come after --"}
			}
			f.ask.Args = args
			return f.write(cmd, a)
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&f.ask.Exec, "exec", "", "path of a program")
	fl.StringVar(&f.ask.Image, "image", "", "name of an image")
	fl.StringVar(&f.ask.Manifests, "manifests", "", "folder or file with a Deployment and its Service")
	fl.StringVar(&f.ask.URL, "url", "", "address of a service that runs already")
	fl.StringArrayVar(&f.ask.Env, "env", nil, "k=v, an environment variable of the program or the image")
	fl.IntVar(&f.ask.Port, "port", 0, "port at which a container listens, whatever it is told")
	fl.StringVar(&f.ask.Path, "path", "", "path of a real request (default: / or what answers)")
	fl.StringVar(&f.ask.Deployment, "deployment", "", "which of several Deployments")
	fl.StringVarP(&f.out, "output", "o", "", "file to write (default: stdout)")
	fl.BoolVar(&f.force, "force", false, "replace the file if it exists")
	f.drivers.register(fl, nil, "drivers that may start the service to look at it (default: all)")
	cmd.MarkFlagsMutuallyExclusive("exec", "image", "manifests", "url")
	return cmd
}

// check refuses flags that say nothing about the given kind of service.
func (f *initFlags) check() error {
	for _, kv := range f.ask.Env {
		if k, _, ok := strings.Cut(kv, "="); !ok || k == "" {
			return &usageError{fmt.Errorf("--env %q: want k=v", kv), ""}
		}
	}
	started := f.ask.Exec != "" || f.ask.Image != ""
	switch {
	case !started && (len(f.ask.Env) > 0 || f.ask.Port != 0):
		return &usageError{errors.New("--env and --port are for --exec and --image"), ""}
	case f.ask.Exec != "" && f.ask.Port != 0:
		return &usageError{errors.New("--port is for --image: every instance of a program has to listen somewhere else"), "say how it is told: -- --addr '${listen.data}'"}
	case f.ask.Port < 0 || f.ask.Port > 65535:
		return &usageError{fmt.Errorf("--port %d: want 1 to 65535", f.ask.Port), ""}
	case f.ask.Deployment != "" && f.ask.Manifests == "":
		return &usageError{errors.New("--deployment is for --manifests"), ""}
	case f.ask.Manifests != "" && len(f.ask.Args) > 0:
		return &usageError{errors.New("arguments are in the manifests"), ""}
	}
	return nil
}

func (f *initFlags) write(cmd *cobra.Command, a *app) (err error) {
	if err := f.check(); err != nil {
		return err
	}
	if f.out != "" && !f.force {
		if _, err := os.Stat(f.out); err == nil {
			return &usageError{fmt.Errorf("%s exists already", f.out), "--force replaces it"}
		}
	}
	ds, err := f.drivers.chosen()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeDrivers(cmd.Context(), ds)) }()
	var offers []starter.Offer
	for _, d := range ds {
		if offer, ok := d.(starter.Offer); ok {
			offers = append(offers, offer)
		}
	}
	f.ask.File, f.ask.Command = f.out, "rollout-lab "+shellJoin(a.args)
	text, driver, err := starter.Write(cmd.Context(), f.ask, offers, scenarios.Options{Drivers: a.driverNames()})
	if err != nil {
		return err
	}
	if f.out == "" {
		_, err = a.Out.Write(text)
		return err
	}
	if err := writeFile(f.out, func(w io.Writer) error { _, err := w.Write(text); return err }); err != nil {
		return &environmentError{fmt.Errorf("write %s: %w", f.out, err), ""}
	}
	next := []string{"rollout-lab", "run", f.out}
	if driver != "" {
		next = append(next, "--driver", driver)
	}
	_, err = fmt.Fprintf(a.Out, "wrote %s\nnext: %s\n", f.out, shellJoin(next))
	return err
}
