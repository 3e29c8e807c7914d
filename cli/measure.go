package cli

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/rollout-lab/rollout-lab/internal/record"
	"github.com/rollout-lab/rollout-lab/scenarios"
)

// measureFlags are the flags of `measure`.
type measureFlags struct {
	run      runFlags
	url      string
	rate     float64
	trials   trialsFlag
	baseline time.Duration
	timeout  time.Duration
	settle   time.Duration
	max      time.Duration
	reset    string
	gates    []string
	headers  []string
	status   string
	ca       string
	insecure bool
	protocol string
}

func measureCommand(a *app) *cobra.Command {
	f := measureFlags{run: runFlags{drivers: driverFlags{app: a}, watch: watchFlags{app: a}}}
	cmd := &cobra.Command{
		Use: "measure --url URL -- COMMAND...", Annotations: tellsOutcome,
		Short: "Run a command of your own under load, and say what it cost",
		Long: `Fires a steady load at an address, runs your command when nothing has failed for a while,
and goes on until nothing has failed for 5 s behind it: at least --settle, at most --max.
Nothing is deployed. Where requests fail before, the command is not run. A command that
fails, or that takes longer than --timeout, is a fail; so is a service that still fails
at --max. Unless --gate says otherwise, a single lost request is one, too.`,
		Example: "  rollout-lab measure --url https://shop.example/ -- helm upgrade shop ./chart\n" +
			"  rollout-lab measure --url http://127.0.0.1:8080/ --trials 3 --reset 'helm rollback shop' -- kubectl rollout restart deploy/web\n" +
			"  rollout-lab measure --url http://127.0.0.1:8080/healthz --gate 'downtime<=250ms' -- ./restart.sh",
		Args: func(cmd *cobra.Command, args []string) error { return f.refuse(cmd, args) },
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := f.scenario(args)
			if err != nil {
				return err
			}
			return f.run.start(cmd, a, []*scenarios.Scenario{s})
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&f.url, "url", "", "address that the load goes to, with the path that is asked")
	fl.Float64Var(&f.rate, "rate", 100, "requests a second")
	f.trials = trialsFlag{Least: 1, Most: 1}
	fl.Var(&f.trials, "trials", "how often the command is run and measured, such as 3, or 3..8 to go on until every gate is decided")
	fl.StringVar(&f.reset, "reset", "", "line for the shell that takes the change back, between two trials")
	fl.DurationVar(&f.baseline, "baseline", 10*time.Second, "how long nothing may fail before the command")
	fl.DurationVar(&f.timeout, "timeout", 10*time.Minute, "how long the command may take; then it is ended")
	fl.DurationVar(&f.settle, "settle", 30*time.Second, "how long the load goes on at least, once the command has ended")
	fl.DurationVar(&f.max, "max", 5*time.Minute, "how long it goes on at most, once the command has ended")
	fl.StringArrayVar(&f.gates, "gate", nil, "limit such as 'downtime<=250ms' (default: failed<=0)")
	fl.StringArrayVar(&f.headers, "header", nil, "header of the request, such as 'Host: shop.example'")
	fl.StringArrayVar(&f.run.vars, "var", nil, "k=v, fills in ${k} of a header; k=@FILE or k=env:NAME takes a secret from there, which is written nowhere")
	fl.StringVar(&f.status, "status", "200", "status of a successful answer, such as 2xx")
	fl.StringVar(&f.protocol, "protocol", "", "h1, h2 or h2c (default: h1)")
	fl.StringVar(&f.ca, "ca", "", "file with the certificates that the address is trusted by (default: the system's)")
	fl.BoolVar(&f.insecure, "insecure", false, "trust any certificate; the report says so")
	f.run.registerShared(fl)
	f.run.drivers.registerOwn(fl)
	return cmd
}

// refuse says what is missing of a measurement.
func (f *measureFlags) refuse(cmd *cobra.Command, args []string) error {
	dash := cmd.ArgsLenAtDash()
	switch {
	case dash > 0:
		return &usageError{fmt.Errorf("measure: %q before the --", args[:dash]), "only the command comes without a flag: rollout-lab measure --url URL -- COMMAND..."}
	case len(args) == 0:
		return &usageError{errors.New("measure needs a command"), "rollout-lab measure --url URL -- COMMAND..."}
	case dash < 0:
		return &usageError{fmt.Errorf("measure: a command without a -- before it: %q", args), "rollout-lab measure --url URL -- " + shellJoin(args)}
	case f.url == "":
		return &usageError{errors.New("measure needs an address"), "--url http://HOST:PORT/PATH is where the load goes to"}
	}
	return nil
}

var gateForm = regexp.MustCompile(`^\s*([a-z0-9_]+)\s*(<=|>=)\s*(\S+)\s*$`)

// scenario is what the flags and the command say.
func (f *measureFlags) scenario(command []string) (s *scenarios.Scenario, err error) {
	m := scenarios.Measurement{
		Status: f.status, Protocol: f.protocol, CA: f.ca, Insecure: f.insecure,
		Rate: f.rate, Trials: record.TrialRange(f.trials), Baseline: f.baseline,
		Run: command, Timeout: f.timeout, Settle: f.settle, Max: f.max,
	}
	if m.URL, m.Path, err = splitURL(f.url); err != nil {
		return nil, err
	}
	if m.Header, err = f.header(); err != nil {
		return nil, err
	}
	if m.Limits, err = f.limits(); err != nil {
		return nil, err
	}
	if f.reset != "" {
		m.Reset = []string{"sh", "-c", f.reset}
	}
	vars, secret, err := parseVars(f.run.vars)
	if err != nil {
		return nil, err
	}
	return m.Scenario(scenarios.Options{Vars: vars, Secret: secret, Drivers: f.run.drivers.app.driverNames()})
}

// splitURL is the address in a URL, and the path that is asked there.
func splitURL(text string) (address, path string, err error) {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return "", "", &usageError{fmt.Errorf("--url %q is no address", text), "such as https://shop.example/ or http://127.0.0.1:8080/cart"}
	}
	if u.User != nil {
		return "", "", &usageError{errors.New("--url holds a user or a password, which would be in every report"), "send it as a header, such as --var token=env:TOKEN --header 'Authorization: Basic ${token}'"}
	}
	path = u.EscapedPath()
	if path == "" {
		path = "/"
	}
	if u.RawQuery != "" {
		path += "?" + u.RawQuery
	}
	return u.Scheme + "://" + u.Host, path, nil
}

// header are the request's headers.
func (f *measureFlags) header() (map[string]string, error) {
	all := map[string]string{}
	for _, text := range f.headers {
		name, value, ok := strings.Cut(text, ":")
		if name = strings.TrimSpace(name); !ok || name == "" {
			return nil, &usageError{fmt.Errorf("--header %q: want NAME: VALUE", text), ""}
		}
		all[name] = strings.TrimSpace(value)
	}
	return all, nil
}

// limits are the gates: that nothing is lost, unless the flags say otherwise.
func (f *measureFlags) limits() (all []scenarios.MeasurementLimit, err error) {
	texts := f.gates
	if len(texts) == 0 {
		texts = []string{"failed<=0"}
	}
	for _, text := range texts {
		m := gateForm.FindStringSubmatch(text)
		if m == nil {
			return nil, &usageError{fmt.Errorf("--gate %q: want METRIC<=LIMIT or METRIC>=LIMIT", text), "such as 'failed<=0', 'downtime<=250ms' or 'success_rate>=99.9%'"}
		}
		all = append(all, scenarios.MeasurementLimit{Metric: m[1], Op: m[2], Limit: m[3]})
	}
	return all, nil
}
