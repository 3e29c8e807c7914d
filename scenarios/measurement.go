package scenarios

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/rollout-lab/rollout-lab/internal/record"
)

// Measurement is one command, measured at one address: what a command line says without a
// scenario.
type Measurement struct {
	URL    string            // scheme and host
	Path   string            // from the root, with its query
	Header map[string]string // sent with the request; ${name} in a value is one of the Options' variables
	Status string            // of a successful answer: 200, or 2xx

	Protocol string // "" leaves it to the scenario's default
	CA       string // a PEM file; "" means the system's authorities
	Insecure bool

	Rate     float64 // requests a second
	Trials   record.TrialRange
	Baseline time.Duration // how long nothing may fail before the command

	Run, Reset           []string
	Timeout, Settle, Max time.Duration
	Limits               []MeasurementLimit
}

// MeasurementLimit is a gate, its limit as it is written in a scenario: 0, 99.9%, 250ms.
type MeasurementLimit struct{ Metric, Op, Limit string }

// measuredDesign is what a measurement's scenario calls its one way to do it.
const measuredDesign = "command"

// measurementWarmUp is how long the load goes on before the baseline phase.
const measurementWarmUp = time.Second

// Scenario is the scenario of the measurement. It is written out and read like any other, so
// that it is checked as such and that its record says what would repeat it. The error is
// Errors, without places in a text that nobody has written.
func (m Measurement) Scenario(o Options) (*Scenario, error) {
	fields := m.fields()
	if len(o.Vars) > 0 {
		declared := mapped{}
		for name := range o.Vars {
			declared[name] = ""
		}
		fields["vars"] = declared
	}
	text, err := json.Marshal(fields) // which is YAML
	if err != nil {
		return nil, fmt.Errorf("measurement: %w", err) // a rate that is no number
	}
	s, err := Parse("measure", text, o)
	if problems, ok := errors.AsType[Errors](err); ok {
		for _, p := range problems {
			p.File, p.Line, p.Column, p.Excerpt = "", 0, 0, ""
		}
	}
	return s, err
}

type mapped = map[string]any

// plainly is a text in which nothing stands for a variable.
func plainly(text string) string { return strings.ReplaceAll(text, "${", "$${") }

func allPlainly(texts []string) []string {
	out := make([]string, len(texts))
	for i, text := range texts {
		out[i] = plainly(text)
	}
	return out
}

func (m Measurement) fields() mapped {
	request := mapped{"path": plainly(m.Path), "expect": mapped{"status": m.Status}}
	if len(m.Header) > 0 {
		request["header"] = m.Header
	}
	target := mapped{"url": plainly(m.URL), "request": request}
	if m.Protocol != "" {
		target["protocol"] = m.Protocol
	}
	tls := mapped{}
	if m.CA != "" {
		tls["ca"] = plainly(m.CA)
	}
	if m.Insecure {
		tls["insecure"] = true
	}
	if len(tls) > 0 {
		target["tls"] = tls
	}
	action := mapped{"kind": Command, "run": allPlainly(m.Run), "timeout": m.Timeout.String(), "settle": m.Settle.String(), "max": m.Max.String()}
	if len(m.Reset) > 0 {
		action["reset"] = allPlainly(m.Reset)
	}
	var trials any = m.Trials.String()
	if !m.Trials.Open() {
		trials = m.Trials.Most
	}
	gates := []mapped{}
	for _, l := range m.Limits {
		var limit any = l.Limit
		if decimal.MatchString(l.Limit) {
			limit = json.Number(l.Limit)
		}
		gates = append(gates, mapped{"design": measuredDesign, "metric": l.Metric, "op": l.Op, "limit": limit})
	}
	return mapped{
		"name": "measure", "target": target, "action": action, "trials": trials, "gates": gates,
		"load":    mapped{"rate": m.Rate},
		"phases":  mapped{"baseline": mapped{"from": measurementWarmUp.String(), "to": (measurementWarmUp + m.Baseline).String()}},
		"designs": []mapped{{"name": measuredDesign}},
	}
}
