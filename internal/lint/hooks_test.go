package lint

import (
	"strings"
	"testing"
	"time"
)

// TestReadPreStop: what requests gain from a hook. The commands of a shell are those
// behind sh -c.
func TestReadPreStop(t *testing.T) {
	const s = time.Second
	for _, tt := range []struct {
		words       []string
		sleep, lead time.Duration
		vain        string
	}{
		{[]string{"sleep", "5"}, 5 * s, 5 * s, ""},
		{[]string{"/bin/sleep", "0"}, 0, 0, "it sleeps for no time"},
		{[]string{"sleep", "infinity"}, 0, 0, ""},
		{[]string{"sh", "-c", "sleep 5"}, 5 * s, 5 * s, ""},
		{[]string{"sh", "-ec", "sleep 5; nginx -s quit"}, 5 * s, 5 * s, ""},
		{[]string{"sh", "-c", "sleep 5 && kill -TERM 1 && sleep 10"}, 15 * s, 5 * s, ""},
		{[]string{"sh", "-c", "nginx -s quit; sleep 10"}, 10 * s, 0, "nginx -s quit ends the listener at once"},
		{[]string{"/usr/sbin/nginx", "-s", "quit"}, 0, 0, "/usr/sbin/nginx -s quit ends the listener at once"},
		{[]string{"nginx", "-s", "reload"}, 0, 0, ""},
		{[]string{"sh", "-c", "nginx -s quit; while killall -0 nginx; do sleep 1; done"}, 0, 0, "nginx -s quit ends the listener at once"},
		{[]string{"sh", "-c", "while busy; do sleep 1; done"}, 0, 0, ""},
		{[]string{"sh", "-c", "sleep 1; store handover"}, s, 0, ""},
		{[]string{"kill", "-s", "TERM", "1"}, 0, 0, "kill -s TERM 1 ends the listener at once"},
		{[]string{"sh", "-c", "kill -QUIT $(cat /run/web.pid)"}, 0, 0, "kill -QUIT $(cat /run/web.pid) ends the listener at once"},
		{[]string{"kill", "1"}, 0, 0, "kill 1 ends the listener at once"},
		{[]string{"kill", "-HUP", "1"}, 0, 0, ""},
		{[]string{"kill", "-0", "1"}, 0, 0, ""},
		{[]string{"sh", "-c", "touch /tmp/stop; echo bye"}, 0, 0, "echo bye returns at once"},
		{[]string{"sh", "-c", "touch /tmp/stop && sleep 5"}, 5 * s, 5 * s, ""},
		{[]string{"/wait-shutdown"}, 0, 0, ""},
		{[]string{"apachectl", "-k", "graceful-stop"}, 0, 0, "apachectl -k graceful-stop ends the listener at once"},
	} {
		h := &preStop{}
		h.readCommand(tt.words)
		if h.sleep != tt.sleep || h.lead != tt.lead || h.vain != tt.vain {
			t.Errorf("%q: got %v, %v, %q, want %v, %v, %q", tt.words, h.sleep, h.lead, h.vain, tt.sleep, tt.lead, tt.vain)
		}
	}
}

func TestExecMistake(t *testing.T) {
	for text, want := range map[string]string{
		"curl,-f,localhost,||,exit,1": "|| is an argument of curl here: no shell reads it",
		"curl -f localhost":           "no program is called curl -f localhost: without a shell nobody takes it apart",
		"sh,-c,curl,-f,localhost":     "the shell runs curl alone: what it is to run has to be one word",
		"sh,-c,curl -f localhost":     "",
		"sh,-c,exec \"$@\",sh,curl":   "",
		"sh,/check.sh,||":             "|| is an argument of sh here: no shell reads it",
		"/opt/My Checks/ready":        "",
		"curl,-f,a&&b":                "",
		"":                            "",
	} {
		var words []string
		if text != "" {
			words = strings.Split(text, ",")
		}
		if got := execMistake(words); got != want {
			t.Errorf("%s: got %q, want %q", text, got, want)
		}
	}
}
