package healthkit

import (
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func mustRegister(t testing.TB, r *Registry, name string, opts Options) *Component {
	t.Helper()
	c, err := r.Register(name, opts)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func stateOf(t testing.TB, r *Registry, name string) State {
	t.Helper()
	c, ok := r.Snapshot().Component(name)
	if !ok {
		t.Fatalf("no component %q", name)
	}
	return c.State
}
