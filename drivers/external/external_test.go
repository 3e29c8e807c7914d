package external

import (
	"context"
	"errors"
	"testing"

	"go.uber.org/goleak"

	"github.com/rollout-lab/rollout-lab/drivers"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestItTakesWhatIsThereAndChangesNothing(t *testing.T) {
	stack := drivers.Stack{RunID: "run", Name: "stack", Address: "http://127.0.0.1:8080/", Subject: drivers.Service{Name: "subject", Ports: []string{"data"}}}
	d := New()
	if err := d.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	env, err := d.Deploy(t.Context(), stack)
	if err != nil {
		t.Fatal(err)
	}
	if got := env.URL(); got != "http://127.0.0.1:8080" {
		t.Errorf("the load goes to %s", got)
	}
	events := env.Watch()
	for what, err := range map[string]error{"scale": env.Scale(t.Context(), 1), "restart": env.Restart(t.Context()), "rollout": env.Rollout(t.Context(), "v2")} {
		if !errors.Is(err, drivers.ErrUnsupported) {
			t.Errorf("%s: got %v, want that it is not supported", what, err)
		}
	}
	if all, err := env.Instances(t.Context()); err != nil || len(all) > 0 {
		t.Errorf("%d instances, %v; want none that are known", len(all), err)
	}
	for range 2 {
		if err := env.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
	for e := range events {
		t.Errorf("it says %v of what it does not know", e)
	}
	if err := env.Restart(t.Context()); !errors.Is(err, drivers.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

func TestItDeploysNothing(t *testing.T) {
	stack := drivers.Stack{RunID: "run", Name: "stack", Replicas: 1, Rolling: drivers.Rolling{MaxSurge: 1}, Subject: drivers.Service{Name: "subject", Ports: []string{"data"}}}
	if _, err := New().Deploy(t.Context(), stack); !errors.Is(err, drivers.ErrUnsupported) {
		t.Errorf("without an address: %v", err)
	}
	stack.Address = "http://host"
	if _, err := New().Deploy(t.Context(), stack); err == nil {
		t.Error("replicas at an address were accepted")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := New().Deploy(ctx, stack); !errors.Is(err, context.Canceled) {
		t.Errorf("after the end of ctx: %v", err)
	}
}
