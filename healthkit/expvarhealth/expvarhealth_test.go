package expvarhealth_test

import (
	"encoding/json"
	"expvar"
	"fmt"
	"net/http"
	"net/http/httptest"
	"reflect"
	"testing"

	"github.com/rollout-lab/rollout-lab/healthkit"
	"github.com/rollout-lab/rollout-lab/healthkit/expvarhealth"
)

func register(t *testing.T, r *healthkit.Registry, name string, o healthkit.Options) *healthkit.Component {
	t.Helper()
	c, err := r.Register(name, o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestReadAsAVariable: it is JSON among other variables.
func TestReadAsAVariable(t *testing.T) {
	r := healthkit.New(healthkit.Config{AllowEmpty: true})
	expvar.Publish("healthkit", expvarhealth.New(r))
	w := httptest.NewRecorder()
	expvar.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/debug/vars", nil))
	var all struct {
		Healthkit struct {
			Ready int
			Phase map[string]int
		}
	}
	if err := json.Unmarshal(w.Body.Bytes(), &all); err != nil {
		t.Fatalf("%v: %s", err, w.Body)
	}
	want := map[string]int{"starting": 0, "serving": 1, "lame-duck": 0, "draining": 0, "stopped": 0}
	if h := all.Healthkit; h.Ready != 1 || !reflect.DeepEqual(h.Phase, want) {
		t.Errorf("got %+v, want ready in %v", h, want)
	}
}

func ExampleNew() {
	registry := healthkit.New(healthkit.Config{AllowEmpty: true})
	var figures struct{ Ready, Live int }
	if err := json.Unmarshal([]byte(expvarhealth.New(registry).String()), &figures); err != nil {
		panic(err)
	}
	fmt.Println(figures.Ready, figures.Live)
	// Output: 1 1
}
