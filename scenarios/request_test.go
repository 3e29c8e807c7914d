package scenarios

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rollout-lab/rollout-lab/internal/certtest"
)

// withTarget is a scenario of a custom target with these keys more, in a folder of its own.
func withTarget(t *testing.T, dir, more string) (*Scenario, error) {
	t.Helper()
	path := filepath.Join(dir, "mine.yaml")
	text := "name: mine\ntarget:\n  exec: ./mine\n" + more + `replicas: 2
load: {rate: 100}
phases: {baseline: {from: 1s, to: 2s}, window: {from: 2s, to: 4s}}
action: {kind: rollout}
designs: [{name: mine, signal: {kind: tcp, port: data}}]
`
	certtest.Write(t, dir, map[string][]byte{"mine.yaml": []byte(text)})
	return Load(path, offered)
}

func TestRequests(t *testing.T) {
	dir := t.TempDir()
	certtest.Write(t, dir, map[string][]byte{"order.json": []byte(`{"n":1}`), "raw": {0, 255}})
	s, err := withTarget(t, dir, `  requests:
    - {method: POST, path: /orders, header: {Content-Type: text/plain}, body: "a\nb", weight: 3, expect: {status: 2xx}}
    - {method: PUT, path: /orders/1, body_file: order.json, expect: {status: [201, 204], header: {X-A: b}}}
    - {path: /orders, expect: {body_matches: "^\\["}}
    - {method: PROPFIND, path: /, body_file: raw}
`)
	if err != nil {
		t.Fatal(err)
	}
	all, probe := s.Target.Asked()
	if len(all) != 4 || probe != 2 {
		t.Fatalf("%d requests, probe %d", len(all), probe)
	}
	if got := all[0].Expect.Status.Codes(); len(got) != 100 || got[0] != 200 || got[99] != 299 {
		t.Errorf("2xx is %v", got)
	}
	if got := all[1].Expect.Status.Codes(); !slices.Equal(got, []int{201, 204}) {
		t.Errorf("201 and 204 are %v", got)
	}
	if string(all[0].Sent) != "a\nb" || string(all[1].Sent) != `{"n":1}` || string(all[3].Sent) != "\x00\xff" || all[2].Sent != nil {
		t.Errorf("bodies %q", []string{string(all[0].Sent), string(all[1].Sent), string(all[3].Sent), string(all[2].Sent)})
	}
	if all[0].Weight != 3 || all[1].Weight != 1 {
		t.Errorf("weights %d, %d", all[0].Weight, all[1].Weight)
	}
	again, err := Parse(s.File, []byte(s.Source), offered)
	if err != nil {
		t.Fatalf("its Source: %v\n%s", err, s.Source)
	}
	if again.Source != s.Source || again.SHA256() != s.SHA256() {
		t.Errorf("its Source says something else:\n%s\n%s", s.Source, again.Source)
	}
	certtest.Write(t, dir, map[string][]byte{"order.json": []byte(`{"n":2}`)})
	if again, err = Parse(s.File, []byte(s.Source), offered); err != nil || again.SHA256() == s.SHA256() {
		t.Errorf("another body is the same experiment: %v", err)
	}
}

func TestTargetsFileOfVegeta(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "load"), 0o700); err != nil {
		t.Fatal(err)
	}
	certtest.Write(t, dir, map[string][]byte{
		"load/body.json": []byte(`{"n":1}`),
		"load/targets.txt": []byte(`# what the load sends
GET http://localhost:8080/a?b=c d
X-One: 1
X-One: 2
Cookie: a=b
Cookie: c=d

POST http://localhost:8080/orders
Content-Type: application/json
@body.json

DELETE http://other/orders/1
`),
	})
	_, err := withTarget(t, dir, "  requests: {file: load/targets.txt}\n")
	if err == nil || !strings.Contains(err.Error(), "must begin with / and hold no spaces") {
		t.Fatalf("a space in a path: %v", err)
	}
	data, err := os.ReadFile(filepath.Join(dir, "load/targets.txt"))
	if err != nil {
		t.Fatal(err)
	}
	certtest.Write(t, dir, map[string][]byte{"load/targets.txt": []byte(strings.Replace(string(data), "c d", "c", 1))})
	s, err := withTarget(t, dir, "  requests: {file: load/targets.txt}\n")
	if err != nil {
		t.Fatal(err)
	}
	all, probe := s.Target.Asked()
	if len(all) != 3 || probe != 0 {
		t.Fatalf("%d requests, probe %d", len(all), probe)
	}
	if all[0].Path != "/a?b=c" || all[0].Header["X-One"] != "1, 2" || all[0].Header["Cookie"] != "a=b; c=d" || all[0].Expect.Status[0] != "200" {
		t.Errorf("first %+v", all[0])
	}
	if all[1].Method != "POST" || string(all[1].Sent) != `{"n":1}` || all[2].Label() != "DELETE /orders/1" {
		t.Errorf("then %+v", all[1:])
	}
	if !slices.Equal(s.Target.Requests.Hosts, []string{"http://localhost:8080", "http://other"}) {
		t.Errorf("hosts %v", s.Target.Requests.Hosts)
	}
	again, err := Parse(s.File, []byte(s.Source), offered)
	if err != nil || again.Source != s.Source || again.SHA256() != s.SHA256() {
		t.Errorf("its Source: %v\n%s", err, s.Source)
	}
	s.Target.Exec, s.Target.URL = "", "http://localhost:8080"
	var wrong []string
	s.Target.checkHosts(func(_, message, _ string) { wrong = append(wrong, message) })
	if len(wrong) != 1 || wrong[0] != `targets in load/targets.txt go to "http://other", and target.url is "http://localhost:8080"` {
		t.Errorf("targets of another host: %q", wrong)
	}
}

func TestBadRequests(t *testing.T) {
	dir := t.TempDir()
	certtest.Write(t, dir, map[string][]byte{
		"bad.txt":  []byte("GET http://h/\n\nget http://h/\n"),
		"body.txt": []byte("POST http://h/\n@missing.json\n"),
		"json.txt": []byte(`{"method":"GET","url":"http://h/"}`),
		"none.txt": []byte("# nothing\n"),
		"post.txt": []byte("POST http://h/\n"),
		"long.txt": []byte("GET http://h/\nX: " + strings.Repeat("x", 70_000) + "\n\nGET http://h/a\n"),
		"lost.txt": []byte("GET http://h/\n# a comment\nGET http://h/a\n"),
	})
	for _, tt := range []struct{ name, more, want, hint string }{
		{"a status that is none", "  request: {expect: {status: 99}}\n", "mine.yaml:4:30: target.request.expect.status must be a status", "below 200 is no answer yet"},
		{"a class that is none", "  request: {expect: {status: 6xx}}\n", "mine.yaml:4:30: target.request.expect.status must be a status", "such as 200, 2xx"},
		{"the answer's status where it was", "  request: {status: 200}\n", "mine.yaml:4:13: unknown key status in target.request", "say expect: {status: 200}"},
		{"the answer's body where it was", "  request: {body: hello}\n", "mine.yaml:4:19: target.request.body is what is sent, and a GET sends none", "expect: {body: ...}"},
		{"two bodies", "  request: {method: POST, body: a, body_file: b}\n", "body and body_file are both there", "remove one"},
		{"no file of a body", "  request: {method: POST, probe: true, body_file: b}\n", "mine.yaml:4:51: there is no file", "named from the folder"},
		{"two bodies wanted", "  request: {expect: {body: a, body_matches: b}}\n", "has both body and body_matches", "remove one"},
		{"no pattern", "  request: {expect: {body_matches: '('}}\n", "mine.yaml:4:36: target.request.expect.body_matches is no regular expression", "RE2"},
		{"body of a HEAD", "  request: {method: HEAD, expect: {body: a}}\n", "the answer to a HEAD has no body", "a status or a header"},
		{"no method", "  request: {method: 'G T'}\n", "mine.yaml:4:21: target.request.method is no method of a request", "such as GET"},
		{"a tunnel", "  request: {method: CONNECT, probe: true}\n", "target.request.method is no method", ""},
		{"a header of the connection", "  request: {header: {connection: close}}\n", "mine.yaml:4:34: target.request.header: connection is sent by the lab", "load.streams"},
		{"a header that is none", "  request: {header: {'a b': c}}\n", `target.request.header: "a b" is no name of a header`, "letters"},
		{"a header of two lines", "  request: {header: {a: \"b\\nc\"}}\n", "target.request.header.a holds a control character", "one line"},
		{"a header twice", "  request: {header: {Host: a, host: b}}\n", "are the same header", "remove one"},
		{"nothing to ask directly", "  requests: [{method: POST}]\n", "mine.yaml:4:14: no request is a GET or a HEAD", "say probe: true"},
		{"two to ask directly", "  requests: [{probe: true}, {path: /a, probe: true}]\n", "mine.yaml:4:47: two requests say probe: true", "tells most"},
		{"both", "  request: {path: /}\n  requests: [{path: /}]\n", "target has both request and requests", "among the others"},
		{"none", "  requests: []\n", "target.requests is empty", "such as {path: /}"},
		{"no weight", "  requests: [{weight: 0}]\n", "mine.yaml:4:23: target.requests[0].weight must be 1..10000, not 0", ""},
		{"weights with nothing in common", "  requests: [{weight: 9999}, {weight: 9998}]\n", "the weights of the requests are met after 19997 of them only", "smaller"},
		{"no file of targets", "  requests: {file: no.txt}\n", "mine.yaml:4:20: there is no file", "named from the folder"},
		{"a file that vegeta refuses", "  requests: {file: bad.txt}\n", "bad.txt:3:1: vegeta cannot read it: bad method: get", "METHOD URL"},
		{"a body of a target", "  requests: {file: body.txt}\n", "body.txt:1:1: vegeta cannot read it: bad body", ""},
		{"targets in JSON", "  requests: {file: json.txt}\n", "is a targets file in JSON", "vegeta's HTTP format"},
		{"no targets", "  requests: {file: none.txt}\n", "there is no target in", "GET http://host/path"},
		{"targets that change things", "  requests: {file: post.txt}\n", "no request is a GET or a HEAD", "say probe: true"},
		{"a target that vegeta would not see", "  requests: {file: long.txt}\n", "long.txt:2:1: the line has 70003 bytes", "into a file"},
		{"a target that vegeta takes for a header", "  requests: {file: lost.txt}\n", "lost.txt:1:1: vegeta reads 1 targets in it, and 2 lines begin as one does", "an empty line"},
		{"streams of refproxy", "load: {rate: 1, streams: {keepalive-post: 1}}\n", "load.streams.keepalive-post is a stream of refproxy's", "there are keepalive, newconn"},
		{"h2 without TLS", "  protocol: h2\n", "target.protocol: h2 is chosen within TLS", "say h2c"},
		{"h2c with TLS", "  protocol: h2c\n  tls: {}\n", "target.protocol: h2c is HTTP/2 without TLS", "say h2"},
		{"nothing to pass through", "balancer: {tls: passthrough}\n", "mine.yaml:4:17: balancer.tls: there is no TLS to pass through", "give target a tls"},
		{"another way with TLS", "balancer: {tls: offload}\n", "balancer.tls must be one of passthrough, terminate, not offload", ""},
		{"another protocol", "  protocol: h3\n", "target.protocol must be one of h1, h2, h2c, not h3", "did you mean"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			more := tt.more
			var err error
			if strings.HasPrefix(more, "load") {
				_, err = Parse("mine.yaml", []byte(strings.Replace(own, "load: {rate: 100}\n", more, 1)), offered)
			} else {
				_, err = withTarget(t, dir, more)
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), tt.hint) {
				t.Fatalf("got %v, want %q with %q", err, tt.want, tt.hint)
			}
			if n := len(err.(Errors)); n != 1 {
				t.Errorf("%d problems of one cause:\n%v", n, err)
			}
		})
	}
}

// What a signal is asked over is what its port speaks, and nobody is verified for it.
func TestSchemeOfASignal(t *testing.T) {
	const plain, secure = "  ports: {health: 0}\n", "  ports: {health: 0}\n  tls: {server_name: shop.example}\n"
	for _, tt := range []struct {
		target, signal string
		scheme, name   string // "" where it is refused
		wrong          string
	}{
		{plain, "port: data", "http", "", ""},
		{plain, "port: health", "http", "", ""},
		{plain, "port: health, scheme: https", "https", "localhost", ""},
		{plain, "port: data, scheme: https", "", "", "signal.scheme is https, and the target speaks no TLS"},
		{secure, "port: data", "https", "shop.example", ""},
		{secure, "port: health", "http", "", ""},
		{secure, "port: health, scheme: https", "https", "shop.example", ""},
		{secure, "port: data, scheme: https", "https", "shop.example", ""},
		{secure, "port: data, scheme: http", "", "", "signal.scheme is http, and the target speaks TLS"},
	} {
		text := "name: mine\ntarget:\n  exec: ./mine\n" + tt.target + `replicas: 2
load: {rate: 100}
phases: {baseline: {from: 1s, to: 2s}, window: {from: 2s, to: 4s}}
action: {kind: rollout}
designs: [{name: mine, signal: {kind: http, ` + tt.signal + `}}]
`
		s, err := Parse("mine.yaml", []byte(text), offered)
		if tt.wrong != "" {
			if err == nil || !strings.Contains(err.Error(), tt.wrong) || len(err.(Errors)) != 1 {
				t.Errorf("%s: got %v, want %q alone", tt.signal, err, tt.wrong)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", tt.signal, err)
			continue
		}
		w := s.Target.SignalWire(s.Designs[0].Signal)
		if w.Scheme() != tt.scheme || w.TLS != nil && (!w.TLS.Insecure || w.TLS.ServerName != tt.name) {
			t.Errorf("%s: got %+v, want %s", tt.signal, w, tt.scheme)
		}
		if again, err := Parse(s.File, []byte(s.Source), offered); err != nil || again.Source != s.Source {
			t.Errorf("%s: its Source reads otherwise: %v", tt.signal, err)
		}
	}
}

func TestTLS(t *testing.T) {
	dir := t.TempDir()
	authority := certtest.New(t)
	client, other := authority.Issue(certtest.Options{}), authority.Issue(certtest.Options{})
	old := authority.Issue(certtest.Options{From: time.Now().Add(-2 * time.Hour), Until: time.Now().Add(-time.Hour)})
	soon := authority.Issue(certtest.Options{From: time.Now().Add(time.Hour), Until: time.Now().Add(2 * time.Hour)})
	certtest.Write(t, dir, map[string][]byte{
		"ca.pem": authority.PEM, "client.pem": client.PEM, "client-key.pem": client.Key, "other-key.pem": other.Key,
		"old.pem": old.PEM, "old-key.pem": old.Key, "soon.pem": soon.PEM, "soon-key.pem": soon.Key,
		"text.pem": []byte("hello\n"), "torn.pem": []byte("-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n"),
	})
	s, err := withTarget(t, dir, "  protocol: h2\n  tls: {ca: ca.pem, certificate: client.pem, key: client-key.pem}\n")
	if err != nil {
		t.Fatal(err)
	}
	wire := s.Target.Wire()
	config, err := wire.ClientConfig()
	if err != nil || wire.Protocol != "h2" || config.ServerName != "localhost" || len(config.Certificates) != 1 || !config.RootCAs.Equal(authority.Pool()) {
		t.Errorf("got %+v, %v", config, err)
	}
	if strings.Contains(s.Source, "PRIVATE") || !strings.Contains(s.Source, `key: "client-key.pem"`) {
		t.Errorf("its Source:\n%s", s.Source)
	}
	if again, err := Parse(s.File, []byte(s.Source), offered); err != nil || again.Source != s.Source {
		t.Errorf("its Source: %v", err)
	}
	if s, err = withTarget(t, dir, "  tls: {}\n"); err != nil || s.Target.Wire().TLS == nil || s.Target.Wire().TLS.CA != nil {
		t.Errorf("nothing said of TLS: %v", err)
	} else if again, err := Parse(s.File, []byte(s.Source), offered); err != nil || again.Target.Wire().TLS == nil {
		t.Errorf("its Source speaks no TLS: %v", err)
	}
	if s, err = withTarget(t, dir, ""); err != nil || s.Target.Wire().TLS != nil {
		t.Errorf("TLS that nobody asked for: %v", err)
	}
	for _, tt := range []struct{ name, tls, want, hint string }{
		{"no file", "ca: no.pem", "mine.yaml:4:13: there is no file", "certificates are named from the folder"},
		{"a folder", "ca: .", "is not a file", ""},
		{"no certificate", "ca: text.pem", "mine.yaml:4:13: there is no certificate in text.pem", "BEGIN CERTIFICATE"},
		{"a torn one", "ca: torn.pem", "certificate 1 in torn.pem cannot be read", ""},
		{"an authority that has expired", "ca: old.pem", "mine.yaml:4:13: the certificate in old.pem has expired: it was valid until 20", "new one"},
		{"an authority and no verification", "ca: ca.pem, insecure: true", "target.tls.ca means nothing with insecure: true", "remove one"},
		{"no key", "certificate: client.pem", "mine.yaml:4:8: target.tls.key is missing", "private key"},
		{"no certificate of the key", "key: client-key.pem", "target.tls.certificate is missing", ""},
		{"another's key", "certificate: client.pem, key: other-key.pem", "mine.yaml:4:39: the key in other-key.pem does not go with the certificate in client.pem", "made for"},
		{"one that has expired", "certificate: old.pem, key: old-key.pem", "mine.yaml:4:22: the certificate in old.pem has expired", "new one"},
		{"one that is not valid yet", "certificate: soon.pem, key: soon-key.pem", "is not valid before", "clock"},
		{"no such key", "verify: false", "unknown key verify in target.tls", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := withTarget(t, dir, "  tls: {"+tt.tls+"}\n")
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), tt.hint) {
				t.Fatalf("got %v, want %q with %q", err, tt.want, tt.hint)
			}
			if n := len(err.(Errors)); n != 1 {
				t.Errorf("%d problems of one cause:\n%v", n, err)
			}
		})
	}
}

// The scenarios of the manual's page on requests are scenarios, with the files beside them.
func TestTheManualOfRequests(t *testing.T) {
	page, err := os.ReadFile("../docs/requests.md")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	authority := certtest.New(t)
	client := authority.Issue(certtest.Options{})
	certtest.Write(t, dir, map[string][]byte{
		"ca.pem": authority.PEM, "client.pem": client.PEM, "client-key.pem": client.Key, "order.json": []byte("{}"),
	})
	blocks := regexp.MustCompile("(?s)```yaml\n(name: .*?)```").FindAllStringSubmatch(string(page), -1)
	for _, block := range blocks {
		s, err := Parse(filepath.Join(dir, "manual.yaml"), []byte(block[1]), offered)
		if err != nil {
			t.Fatal(err)
		}
		if all, probe := s.Target.Asked(); len(all) != 3 || probe != 0 || s.Target.Wire().TLS.ServerName != "orders.example" {
			t.Errorf("it asks %d requests, probe %d", len(all), probe)
		}
	}
	if len(blocks) == 0 {
		t.Error("no scenario in it")
	}
}

// At an address nobody is asked directly: a load may change things alone.
func TestRequestsOfAnAddress(t *testing.T) {
	text := `name: here
target: {url: "https://shop.example", requests: [{method: POST, path: /orders, body: "1"}]}
load: {rate: 10}
phases: {baseline: {from: 1s, to: 2s}}
action: {kind: command, run: ["true"]}
designs: [{name: d}]
`
	s, err := Parse("here.yaml", []byte(text), offered)
	if err != nil {
		t.Fatal(err)
	}
	if all, probe := s.Target.Asked(); len(all) != 1 || probe != -1 || s.Target.Wire().TLS == nil || s.Target.Wire().TLS.ServerName != "shop.example" {
		t.Errorf("%d requests, probe %d, %+v", len(all), probe, s.Target.Wire())
	}
	if _, err := Parse("here.yaml", []byte(strings.Replace(text, "https:", "http:", 1)), offered); err != nil {
		t.Error(err)
	}
	if _, err := Parse("here.yaml", []byte(strings.Replace(text, `https://shop.example", `, `http://shop.example", tls: {insecure: true}, `, 1)), offered); err == nil || !strings.Contains(err.Error(), "target.url begins with http://") {
		t.Errorf("TLS at an address without it: %v", err)
	}
}
