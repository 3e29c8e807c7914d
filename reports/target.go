package reports

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/rollout-lab/rollout-lab/internal/judge"
	"github.com/rollout-lab/rollout-lab/internal/record"
	"github.com/rollout-lab/rollout-lab/reports/format"
)

// gistLength is how long a headline may say what the target did.
const gistLength = 160

// failureGist is what the target did, and the rest of it where that is long.
func failureGist(why judge.Reason) (gist, rest string) {
	text := Sentence(why)
	if utf8.RuneCountInString(text) <= gistLength {
		return text, ""
	}
	gist, rest, _ = strings.Cut(text, "; ")
	return gist, rest
}

// inHeadline reports whether the headline, with why it is so, says a reason in full; of trials
// in which the target failed alike it names the first and counts the others.
func inHeadline(run *judge.Run, r judge.Reason) bool {
	text := Sentence(r)
	if failed := run.Headline().Failed; len(failed) > 0 && r.Kind == failed[0].Kind && alike(r, failed[0]) {
		return true
	}
	return strings.HasPrefix(headline(run), text)
}

// alike reports whether the target failed in the same way: what follows, such as the time of the
// last check, may differ from trial to trial.
func alike(a, b judge.Reason) bool {
	gist := func(r judge.Reason) string {
		if len(r.Because) == 0 {
			return Sentence(r)
		}
		gist, _, _ := strings.Cut(because(r), "; ")
		return gist
	}
	return a.Cell == b.Cell && gist(a) == gist(b)
}

// doAtDeploy is what to do about a target that did not serve when it was deployed: what the error
// says itself, if it does.
func doAtDeploy(s record.Skipped) string {
	if s.Hint != "" {
		return sentence(s.Hint)
	}
	return "Start one instance by itself and send it the request of the scenario: its path, its status, the port that it listens on."
}

// adviseOnFailure is what to do where the target failed, and why it lost requests, if it
// did; what it did is in the headline, and here what that has no room for.
func adviseOnFailure(run *judge.Run, why judge.Reason) advice {
	var a advice
	if _, rest := failureGist(why); rest != "" {
		a.Why = rest + "."
	}
	if why.Kind == judge.DeployFailed {
		of, _ := notRun(run, why)
		a.Do = doAtDeploy(of)
		return a
	}
	revision, action := "the new revision", "action"
	c := cellOf(run, why.Cell)
	if c != nil {
		if r := metaOf(c).Revisions; r.After != r.Before {
			revision, action = r.After, "rollout"
		}
		for i := range c.Trials {
			if t := &c.Trials[i]; t.Meta.N == why.Trial && len(t.Causes) > 0 {
				lost := adviseOn(t.Causes[0], t.Failed, &t.Meta).Why
				if a.Why != "" {
					lost = a.Why + " " + capital(lost)
				}
				a.Why = lost
			}
		}
	}
	if c != nil && metaOf(c).Address != "" {
		a.Do = "What the command said is in command.log of the trial's folder."
		if len(why.Because) > 0 && why.Because[0].Kind == judge.NeverCalm {
			a.Do = "Take the change back, and see in the service's log why it still fails."
		}
		return a
	}
	a.Do = fmt.Sprintf("Start %s by itself and %s. The %s did well not to go on.", revision, lookInto(Sentence(why)), action)
	return a
}

var lastCheck = regexp.MustCompile(`last check: *([^,;)]*)`)

// lookInto says where to look, by what is known of an instance that is not ready.
func lookInto(failure string) string {
	if strings.Contains(failure, "last output") {
		return "mend what it last said, above"
	}
	answer := lastCheck.FindStringSubmatch(failure)
	if answer == nil {
		return "see in its log why it is not ready"
	}
	said := strings.TrimSpace(answer[1])
	if said != "" && said[0] >= '1' && said[0] <= '9' {
		return "ask it for its signal: it answers " + said
	}
	return "ask it for its signal, which nobody answers"
}

// whoFailed says what the target did first, and how often it did so, or otherwise failed.
func whoFailed(failed []judge.Reason) string {
	text, _ := failureGist(failed[0])
	same, others := 0, 0
	for _, r := range failed[1:] {
		if alike(r, failed[0]) {
			same++
		} else {
			others++
		}
	}
	if same > 0 {
		text += ", as in " + format.Plural(same, "more trial", "more trials")
	}
	if others > 0 {
		text += ", and the target failed in " + format.Plural(others, "other way", "other ways")
	}
	return text
}

// mustFail reports whether a design is known to fail in any scenario.
func mustFail(run *judge.Run, design string) bool {
	return slices.ContainsFunc(run.Record.Scenarios, func(s record.Scenario) bool { return slices.Contains(s.Positive, design) })
}
