package lint

import (
	"net/url"
	"strings"
)

// SARIFLog is a report in the Static Analysis Results Interchange Format, which code
// scanning and editors read.
type SARIFLog struct {
	Schema  string     `json:"$schema"`
	Version string     `json:"version"`
	Runs    []sarifRun `json:"runs"`
}

type sarifRun struct {
	Tool struct {
		Driver sarifDriver `json:"driver"`
	} `json:"tool"`
	ColumnKind  string            `json:"columnKind"`
	Invocations []sarifInvocation `json:"invocations"`
	Results     []sarifResult     `json:"results"`
}

type sarifDriver struct {
	Name    string      `json:"name"`
	Version string      `json:"version"`
	Rules   []sarifRule `json:"rules"`
}

type sarifText struct {
	Text string `json:"text"`
}

type sarifRule struct {
	ID               string    `json:"id"`
	ShortDescription sarifText `json:"shortDescription"`
	FullDescription  sarifText `json:"fullDescription"`
	Help             sarifText `json:"help"`
	Configuration    struct {
		Level Severity `json:"level"`
	} `json:"defaultConfiguration"`
}

type sarifInvocation struct {
	Successful    bool                `json:"executionSuccessful"`
	Notifications []sarifNotification `json:"toolExecutionNotifications,omitempty"`
}

type sarifNotification struct {
	Level     Severity        `json:"level"`
	Message   sarifText       `json:"message"`
	Locations []sarifLocation `json:"locations,omitempty"`
}

type sarifResult struct {
	RuleID        string             `json:"ruleId"`
	Level         Severity           `json:"level"`
	Message       sarifText          `json:"message"`
	Locations     []sarifLocation    `json:"locations"`
	BaselineState string             `json:"baselineState,omitempty"`
	Suppressions  []sarifSuppression `json:"suppressions,omitempty"`
}

type sarifLocation struct {
	Physical struct {
		Artifact struct {
			URI string `json:"uri"`
		} `json:"artifactLocation"`
		Region *sarifRegion `json:"region,omitempty"`
	} `json:"physicalLocation"`
}

type sarifRegion struct {
	Line   int `json:"startLine"`
	Column int `json:"startColumn"`
}

type sarifSuppression struct {
	Kind          string `json:"kind"`
	Justification string `json:"justification"`
}

// SARIF is a report in that format. Findings that a baseline knows are unchanged, those that
// are taken back are suppressed.
func SARIF(r *Report, version string) *SARIFLog {
	run := sarifRun{ColumnKind: "unicodeCodePoints", Invocations: []sarifInvocation{{Successful: len(r.Problems) == 0}}, Results: []sarifResult{}}
	run.Tool.Driver = sarifDriver{Name: "rollout-lab", Version: version}
	for _, rule := range rules {
		s := sarifRule{ID: rule.ID, ShortDescription: sarifText{rule.What}, FullDescription: sarifText{rule.Why}, Help: sarifText{"Why: " + rule.Why + "\n\nFix: " + rule.Fix}}
		s.Configuration.Level = rule.Severity
		run.Tool.Driver.Rules = append(run.Tool.Driver.Rules, s)
	}
	for _, p := range r.Problems {
		n := sarifNotification{Level: Error, Message: sarifText{p.Message}}
		if p.File != "" {
			n.Locations = []sarifLocation{sarifPlace(p.File, p.Line, p.Column)}
		}
		run.Invocations[0].Notifications = append(run.Invocations[0].Notifications, n)
	}
	add := func(findings []Finding, state string) {
		for _, f := range findings {
			text := strings.Join(append([]string{f.Subject}, f.Others...), ", ") + ": " + f.Effect + "\nfix: " + f.Fix
			s := sarifResult{RuleID: f.Rule, Level: f.Severity, Message: sarifText{text}, BaselineState: state}
			s.Locations = []sarifLocation{sarifPlace(f.File, f.Line, f.Column)}
			if f.Ignored != "" {
				s.Suppressions = []sarifSuppression{{"inSource", f.Ignored}}
			}
			run.Results = append(run.Results, s)
		}
	}
	fresh := ""
	if len(r.Known) > 0 {
		fresh = "new"
	}
	add(r.Findings, fresh)
	add(r.Known, "unchanged")
	add(r.Suppressed, fresh)
	return &SARIFLog{Schema: "https://json.schemastore.org/sarif-2.1.0.json", Version: "2.1.0", Runs: []sarifRun{run}}
}

func sarifPlace(file string, line, column int) sarifLocation {
	var l sarifLocation
	l.Physical.Artifact.URI = (&url.URL{Path: cleanPath(file)}).String()
	if line > 0 {
		l.Physical.Region = &sarifRegion{line, max(column, 1)}
	}
	return l
}
