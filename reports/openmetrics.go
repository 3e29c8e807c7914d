package reports

import (
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"

	"github.com/rollout-lab/rollout-lab/internal/judge"
	"github.com/rollout-lab/rollout-lab/internal/metric"
	"github.com/rollout-lab/rollout-lab/reports/format"
)

// WriteMetrics writes metrics.txt, for pipelines that show how numbers change: what each cell
// comes to over its valid trials, in the text format of OpenMetrics. Times are in milliseconds,
// shares from 0 to 1. A cell without a value has no line: none is not zero.
func WriteMetrics(w io.Writer, run *judge.Run) error {
	var b strings.Builder
	for _, m := range metric.All() {
		family(&b, m.Key, m.About, run, func(c *judge.Cell) (float64, bool) { return pooled(c, m) })
	}
	family(&b, "valid_trials", "trials that count", run, func(c *judge.Cell) (float64, bool) { return float64(c.Totals().Valid), true })
	b.WriteString("# EOF\n")
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("write metrics.txt: %w", err)
	}
	return nil
}

// pooled is what the cell's valid trials come to. A metric whose trials stand each for itself
// has no such number.
func pooled(c *judge.Cell, m metric.Metric) (float64, bool) {
	sum := c.Totals()
	switch {
	case sum.Valid == 0:
		return 0, false
	case m.Pooling == metric.Sum:
		return c.Sum(m.Name), true
	case m.Pooling == metric.Rate:
		return float64(sum.OK) / float64(sum.Planned), sum.Planned > 0
	case m.Pooling == metric.Median:
		e := c.Estimates[m.Name]
		return e.Median, e.N == sum.Valid && !math.IsNaN(e.Median) && !math.IsInf(e.Median, 0) // of some trials it would flatter
	}
	return 0, false
}

// family writes one number of every cell, or nothing where no cell has it.
func family(b *strings.Builder, key, about string, run *judge.Run, of func(*judge.Cell) (float64, bool)) {
	name, head := "rollout_lab_"+strings.ReplaceAll(key, ".", "_"), true
	for i := range run.Cells {
		c := &run.Cells[i]
		value, ok := of(c)
		if !ok {
			continue
		}
		if head {
			fmt.Fprintf(b, "# TYPE %s gauge\n# HELP %s %s\n", name, name, labelValue(about))
			head = false
		}
		fmt.Fprintf(b, "%s{scenario=\"%s\",driver=\"%s\",design=\"%s\"} %s\n", name, labelValue(c.Scenario), labelValue(c.Driver), labelValue(c.Design),
			strconv.FormatFloat(value, 'f', -1, 64))
	}
}

func labelValue(s string) string {
	return strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(format.Clean(s))
}
