package record

// Baseline is what earlier runs showed, as a run is held against it. It is part of the run's
// record, so that the run can be judged again when the file that it was taken from has gone on.
type Baseline struct {
	File string `json:"file"` // as it was named
	// Missing says why there is none, "" where there is one.
	Missing string `json:"missing,omitempty"`
	// AnyEnvironment: what was measured on another machine counts as well.
	AnyEnvironment bool       `json:"any_environment,omitempty"`
	Cells          []PastCell `json:"cells"` // of those that the run has
}

// PastCell is what earlier runs showed of a design of a scenario on a driver.
type PastCell struct {
	Scenario string `json:"scenario"`
	Driver   string `json:"driver"`
	Action   string `json:"action"`
	Design   string `json:"design"`
	// Differs is what is not the same now. Where Refused, its trials must not be compared.
	Differs []Difference `json:"differs,omitempty"`
	Refused bool         `json:"refused,omitempty"`
	Trials  []PastTrial  `json:"trials"` // valid ones, the oldest first
}

// Difference is a thing on which a measurement depends, as it was and as it is now.
type Difference struct {
	Field string `json:"field"` // load.rate, environment.kernel
	Was   string `json:"was"`   // "" where there was none
	Is    string `json:"is"`
}

// EnvironmentField begins the name of a Difference of the environment.
const EnvironmentField = "environment."

// PastTrial is a valid trial of an earlier run.
type PastTrial struct {
	RunID       string `json:"run_id"`
	N           int    `json:"n"`
	Started     string `json:"started"` // of its run, RFC 3339, UTC
	Commit      string `json:"commit,omitempty"`
	Fingerprint string `json:"fingerprint"` // of the environment
	// Values are what can be compared, in milliseconds, by ValueKey; null where the thing did
	// not happen. What was not measured then is not in it.
	Values map[string]*float64 `json:"values"`
}

// Same reports whether two of them are the same trial.
func (t PastTrial) Same(o PastTrial) bool { return t.RunID == o.RunID && t.N == o.N }

// ValueKey names a metric of all requests, or of a stream of them.
func ValueKey(metric, stream string) string {
	if stream == "" {
		return metric
	}
	return metric + "/" + stream
}
