package load

import (
	"net/http"
	"testing"

	"github.com/rollout-lab/rollout-lab/internal/record"
)

func TestOnce(t *testing.T) {
	failing := httpServer(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) })
	for url, want := range map[string]record.Class{
		httpServer(t, echo).URL: record.OK, failing.URL: record.HTTPStatus(404), "http://" + refusing(t): record.Refused,
		"http://no-such-host.invalid": record.DNS,
	} {
		s, err := Once(t.Context(), Plan{URL: url, Timeout: ample, Streams: threeStreams()})
		if err != nil || s.Class != want {
			t.Errorf("%s: got %+v, %v; want %s", url, s, err, want)
		}
	}
	if _, err := Once(t.Context(), Plan{URL: "ftp://host", Timeout: ample, Streams: threeStreams()}); err == nil {
		t.Error("a plan that is wrong was accepted")
	}
}
