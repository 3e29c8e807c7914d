package scenarios

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// The scenarios of the manual are scenarios. Those with manifests need files beside them.
func TestTheScenariosOfTheManual(t *testing.T) {
	var text []byte
	for _, name := range []string{"../docs/runtimes.md", "../docs/measure.md"} {
		page, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		text = append(text, page...)
	}
	n := 0
	for _, block := range regexp.MustCompile("(?s)```yaml\n(name: .*?)```").FindAllStringSubmatch(string(text), -1) {
		if strings.Contains(block[1], "manifests: ") {
			continue
		}
		n++
		if _, err := Parse("runtimes.md", []byte(block[1]), offered); err != nil {
			t.Error(err)
		}
	}
	if n < 2 {
		t.Errorf("%d scenarios of custom targets, want that of an image and that of a program", n)
	}
}
