package reports

import (
	"fmt"
	"strings"

	"github.com/rollout-lab/rollout-lab/internal/judge"
	"github.com/rollout-lab/rollout-lab/internal/record"
	"github.com/rollout-lab/rollout-lab/reports/format"
)

// stretchText is a stretch in words, given what the revisions are called.
func stretchText(s judge.Stretch, r record.Revisions) string {
	switch s {
	case judge.OnlyBefore:
		return "only " + format.Clean(r.Before) + " ran"
	case judge.BothRan:
		return "both ran"
	case judge.OnlyAfter:
		return "only " + format.Clean(r.After) + " ran"
	}
	return "none was known to run"
}

// revisionLosses says from which revision the lost requests of an upgrade were, and how many of
// them were sent while both revisions ran; "" where that says nothing: nothing was lost, or
// the rollout was of a program to itself.
func revisionLosses(all []judge.RevisionCount, r record.Revisions) string {
	if !r.Differ {
		return ""
	}
	var lost, both uint64
	from := make(map[string]uint64)
	for _, c := range all {
		lost += c.Lost
		from[c.Revision] += c.Lost
		if c.Stretch == judge.BothRan {
			both += c.Lost
		}
	}
	if lost == 0 {
		return ""
	}
	var parts []string
	for _, revision := range []string{r.Before, r.After} {
		switch n := from[revision]; n {
		case 0:
		case lost:
			parts = append(parts, allOf(lost)+" from "+format.Shorten(format.Clean(revision), 40))
		default:
			parts = append(parts, format.Count(n)+" of "+format.Count(lost)+" from "+format.Shorten(format.Clean(revision), 40))
		}
	}
	if len(parts) == 0 {
		parts = append(parts, "from which revision is not known")
	}
	said := strings.Join(parts, ", ")
	switch both {
	case 0:
		return said + ", none while both ran"
	case lost:
		return said + ", " + allOf(lost) + " while both ran"
	}
	return said + ", " + format.Count(both) + " of " + format.Count(lost) + " while both ran"
}

// allOf is all of so many.
func allOf(n uint64) string {
	if n == 1 {
		return "the one"
	}
	return "all " + format.Count(n)
}

// wrongAnswers says which requests the new revision answers wrongly, and how often, where the
// record names them: 500 to 20 % of GET /orders.
func wrongAnswers(c judge.CauseCount, m *record.Trial) string {
	if len(c.Requests) == 0 || !m.Revisions.Differ {
		return ""
	}
	answer := "wrongly"
	if status, ok := strings.CutPrefix(string(c.Class), "http_"); ok {
		answer = format.Clean(status)
	}
	var asked []string
	for i, r := range c.Requests {
		if i == mostRequests {
			asked = append(asked, format.Plural(len(c.Requests)-i, "other request", "other requests"))
			break
		}
		share := part(r.Wrong, r.Answers) + " of "
		if r.Wrong == r.Answers {
			share = "every "
		}
		asked = append(asked, share+format.Shorten(format.Clean(r.Name), 60))
	}
	return fmt.Sprintf("%s answers %s to %s, and %s never does", format.Shorten(format.Clean(m.Revisions.After), 40), answer, enumerated(asked), format.Shorten(format.Clean(m.Revisions.Before), 40))
}

// aboutRelease is what to do about a release that answers wrongly. One that was seen to do so
// only beside the old one may be fine by itself.
func aboutRelease(c judge.CauseCount, m *record.Trial) string {
	if c.Both < c.Count {
		return "The release itself is broken, not the rollout: ask one new instance by itself, and roll back."
	}
	after, before := format.Shorten(format.Clean(m.Revisions.After), 40), format.Shorten(format.Clean(m.Revisions.Before), 40)
	return fmt.Sprintf("It was so only while both ran, so look at what they share (sessions, schemas, caches): let %s read what %s writes, and for the way back %s what %s does.", after, before, before, after)
}

// mostRequests is how many requests a sentence names.
const mostRequests = 3

// revisionLine is a row of the table of losses by revision.
type revisionLine struct {
	Cell              *judge.Cell
	Revision, Stretch string
	OK, Lost, All     uint64 // All: lost by the cell
}

// Revisions says of each cell that lost requests of which revision they were, and which ran.
func (g pageGroup) Revisions() (all []revisionLine) {
	for _, c := range g.Cells {
		counts, r := c.Revisions(), metaOf(c).Revisions
		var lost uint64
		for _, of := range counts {
			lost += of.Lost
		}
		for _, of := range counts {
			revision := of.Revision
			if revision == "" {
				revision = "not known"
			}
			if lost > 0 {
				all = append(all, revisionLine{c, revision, stretchText(of.Stretch, r), of.OK, of.Lost, lost})
			}
		}
	}
	return all
}

// SameProgram says of a rollout that it led from a program to the same one; "" of any other
// action.
func (g pageGroup) SameProgram() string {
	for _, c := range g.Cells {
		if r := metaOf(c).Revisions; r.Before != r.After && !r.Differ {
			return fmt.Sprintf("%s and %s are the same program: what was measured is what replacing it costs, not what another release does.", r.Before, r.After)
		}
	}
	return ""
}

func newRevisionCounts(all []judge.RevisionCount) []RevisionLosses {
	out := []RevisionLosses{}
	for _, c := range all {
		out = append(out, RevisionLosses{Revision: c.Revision, Stretch: c.Stretch, OK: c.OK, Lost: c.Lost})
	}
	return out
}

func newRequestCounts(all []judge.RequestCount) []RequestAnswers {
	out := []RequestAnswers{}
	for _, c := range all {
		out = append(out, RequestAnswers{Request: c.Name, Wrong: c.Wrong, Answers: c.Answers})
	}
	return out
}
