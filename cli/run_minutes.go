package cli

import (
	"fmt"
	"strings"
	"time"

	"github.com/rollout-lab/rollout-lab/internal/lab"
	"github.com/rollout-lab/rollout-lab/reports/format"
)

// estimateText says how long a run will take.
func estimateText(e lab.Estimate) string {
	text := fmt.Sprintf("%s, about %s", format.Plural(e.Trials, "trial", "trials"), minutes(e.Takes))
	var besides []string
	if e.Commands {
		besides = append(besides, "as long as the commands take")
	}
	if len(e.Prepares) > 0 {
		besides = append(besides, "what "+strings.Join(e.Prepares, " and ")+" may have to make first")
	}
	if len(besides) > 0 {
		text += ", and " + strings.Join(besides, ", and ")
	}
	return text
}

// minutes prints how long something may take, rounded up to a second.
func minutes(d time.Duration) string {
	d = (d + time.Second - 1).Truncate(time.Second)
	if d < time.Minute {
		return fmt.Sprintf("%d s", d/time.Second)
	}
	return format.Span(d)
}
