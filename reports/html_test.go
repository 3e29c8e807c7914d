package reports

import (
	"bytes"
	"testing"

	"github.com/rollout-lab/rollout-lab/internal/judge"
)

func htmlText(t *testing.T, run *judge.Run) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := WriteHTML(&b, run); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestHTMLGolden(t *testing.T) {
	golden(t, "report.html", htmlText(t, fixtureRun()))
	golden(t, "report-hostile.html", htmlText(t, hostileRun()))
}

func TestTimelineSVGGolden(t *testing.T) {
	var b bytes.Buffer
	if err := WriteTimelineSVG(&b, fixtureRun()); err != nil {
		t.Fatal(err)
	}
	golden(t, "timeline.svg", b.Bytes())
}
