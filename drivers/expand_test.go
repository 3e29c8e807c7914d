package drivers

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var somewhere = Places{
	Instance: "proxy-1", Revision: "v2",
	Listen: map[string]string{"data": "127.0.0.1:1000"},
	Addr:   map[string]map[string]string{"control": {"api": "127.0.0.1:2000"}},
}

func TestExpand(t *testing.T) {
	for _, tt := range []struct{ name, in, want string }{
		{"nothing to fill in", "--health=naive", "--health=naive"},
		{"empty", "", ""},
		{"instance and revision", "${instance}@${revision}", "proxy-1@v2"},
		{"ports", "http://${addr.control.api}/,${listen.data}", "http://127.0.0.1:2000/,127.0.0.1:1000"},
		{"the number of a port", "PORT=${port.data}", "PORT=1000"},
		{"a dollar alone", "$HOME $", "$HOME $"},
		{"a brace alone", "}{", "}{"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := somewhere.Expand(tt.in)
			if err != nil || got != tt.want {
				t.Errorf("Expand(%q) = %q, %v, want %q", tt.in, got, err, tt.want)
			}
		})
	}
}

func TestExpandRefuses(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"${instance", "without }"},
		{"${}", "unknown placeholder"},
		{"${nonsense}", "unknown placeholder"},
		{"${instance.x}", "unknown placeholder"},
		{"${listen}", "unknown placeholder"},
		{"${listen.health}", `no port "health"`},
		{"${port}", "unknown placeholder; there are ${instance}, ${revision}, ${listen.PORT}, ${port.PORT}"},
		{"${port.health}", `no port "health"`},
		{"${addr.control}", "unknown placeholder"},
		{"${addr.control.admin}", `no port "admin"`},
		{"${addr.upstream.data}", `no service "upstream"`},
	} {
		if got, err := somewhere.Expand(tt.in); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("Expand(%q) = %q, %v, want an error that says %q", tt.in, got, err, tt.want)
		}
	}
}

func TestExpandDoesNotExpandWhatItFilledIn(t *testing.T) {
	p := Places{Instance: "${revision}", Revision: "v1"}
	if got, err := p.Expand("${instance}"); err != nil || got != "${revision}" {
		t.Errorf("got %q, %v, want the instance's name as it is", got, err)
	}
}

func TestCommand(t *testing.T) {
	args, env, err := somewhere.Command(Service{
		Name: "proxy", Args: []string{"proxy", "--listen", "${listen.data}"}, Env: map[string]string{"ID": "${instance}"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"proxy", "--listen", "127.0.0.1:1000"}, args); diff != "" {
		t.Errorf("args (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]string{"ID": "proxy-1"}, env); diff != "" {
		t.Errorf("env (-want +got):\n%s", diff)
	}
	for _, s := range []Service{{Name: "proxy", Args: []string{"${x}"}}, {Name: "proxy", Env: map[string]string{"K": "${x}"}}} {
		if _, _, err := somewhere.Command(s); err == nil || !strings.Contains(err.Error(), "proxy") {
			t.Errorf("%+v: got %v, want an error that names the service", s, err)
		}
	}
}
