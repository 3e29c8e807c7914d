package lint

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
)

// Baseline is what is known of a set of files and is to be mended later: findings as they
// were, without the lines that they stood on.
type Baseline struct {
	Version  int     `json:"version"` // 1
	Findings []Known `json:"findings"`
}

// Known is a number of findings that are alike.
type Known struct {
	Rule     string   `json:"rule"`
	Severity Severity `json:"severity"`
	File     string   `json:"file"`
	Subject  string   `json:"subject"`
	Count    int      `json:"count"`
}

const baselineVersion = 1

// known are what a baseline holds of a finding: an entry for each of its subjects.
func known(f Finding) []Known {
	var out []Known
	for _, subject := range append([]string{f.Subject}, f.Others...) {
		out = append(out, Known{Rule: f.Rule, Severity: f.Severity, File: cleanPath(f.File), Subject: subject})
	}
	return out
}

// NewBaseline is the baseline in which all findings of a report are known.
func NewBaseline(r *Report) *Baseline {
	b := &Baseline{Version: baselineVersion, Findings: []Known{}}
	counts := map[Known]int{}
	for _, f := range slices.Concat(r.Findings, r.Known) {
		for _, k := range known(f) {
			counts[k]++
		}
	}
	for k, n := range counts {
		k.Count = n
		b.Findings = append(b.Findings, k)
	}
	slices.SortFunc(b.Findings, func(a, b Known) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Subject, b.Subject), cmp.Compare(a.Rule, b.Rule), cmp.Compare(a.Severity, b.Severity))
	})
	return b
}

// ParseBaseline reads a baseline that was written as JSON.
func ParseBaseline(data []byte) (*Baseline, error) {
	var b Baseline
	if err := json.Unmarshal(data, &b); err != nil {
		return nil, err
	}
	if b.Version != baselineVersion {
		return nil, fmt.Errorf("version %d of a baseline, want %d", b.Version, baselineVersion)
	}
	if b.Findings == nil {
		return nil, errors.New("a baseline has findings, this has none")
	}
	return &b, nil
}

// Compare moves the findings that a baseline knows to Known. Of findings that are alike as many
// are known as the baseline counts; one that has become graver is not, one of several subjects
// is if it was of any of them. It returns how many the
// baseline knows of the checked files that are there no more.
func (r *Report) Compare(b *Baseline, files []File) (gone int) {
	left := map[Known]int{}
	for _, k := range b.Findings {
		n := k.Count
		k.Count = 0
		left[k] += n
	}
	fresh := []Finding{}
	for _, f := range r.Findings {
		knows := false
		for _, k := range known(f) {
			if left[k] > 0 {
				left[k]--
				knows = true
			}
		}
		if knows {
			r.Known = append(r.Known, f)
		} else {
			fresh = append(fresh, f)
		}
	}
	r.Findings = fresh
	for k, n := range left {
		if slices.ContainsFunc(files, func(f File) bool { return cleanPath(f.Name) == k.File }) {
			gone += n
		}
	}
	return gone
}
