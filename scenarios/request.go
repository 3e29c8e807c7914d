package scenarios

import (
	"bufio"
	"bytes"
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"

	vegeta "github.com/tsenart/vegeta/v12/lib"
)

// maxRequests bounds how many different requests a target is asked: the shares of all of
// them must be met within a trial.
const maxRequests = 10_000

// Request is something that the load asks of a custom target.
type Request struct {
	Method   string            `yaml:"method" form:"method" default:"GET" hint:"such as GET" doc:"any method"`
	Path     string            `yaml:"path" form:"path" default:"/" hint:"such as /" doc:"from the root, with its query"`
	Header   map[string]string `yaml:"header" doc:"sent with it; Host may be among them"`
	Body     string            `yaml:"body,omitempty" doc:"sent with it"`
	BodyFile string            `yaml:"body_file,omitempty" doc:"the same from a file, which is named from the scenario's folder"`
	Weight   int               `yaml:"weight" min:"1" max:"10000" default:"1" doc:"how often it is sent, beside the others"`
	// Every instance is asked directly, many times a second: that must change nothing in it.
	Probe  bool   `yaml:"probe,omitempty" doc:"instances are asked this one directly, 20 times a second; without it the first GET or HEAD"`
	Expect Expect `yaml:"expect" doc:"how it has to be answered"`

	Sent []byte `yaml:"-"` // what Body or BodyFile says
}

// Expect is what an answer has to be to be a successful one.
type Expect struct {
	Status      Statuses          `yaml:"status" default:"200" hint:"200..599, or 2xx" doc:"one status or several: 200, 2xx, [200, 404]"`
	Header      map[string]string `yaml:"header" doc:"headers that it must have, with exactly these values"`
	Body        string            `yaml:"body,omitempty" doc:"its exact body; without it any whole body will do"`
	BodyMatches string            `yaml:"body_matches,omitempty" form:"regexp" doc:"a regular expression (RE2) that must match somewhere in its first MiB"`
}

// Statuses are the status codes of successful answers, as they are written: 200, or 2xx for
// a hundred of them.
type Statuses []string

var statusForm = regexp.MustCompile(`^[2-5](xx|[0-9][0-9])$`)

// Codes are the codes themselves, in order.
func (s Statuses) Codes() []int {
	var codes []int
	for _, one := range s {
		if class, all := strings.CutSuffix(one, "xx"); all {
			first, _ := strconv.Atoi(class + "00") // its form was checked
			for code := first; code < first+100; code++ {
				codes = append(codes, code)
			}
			continue
		}
		code, _ := strconv.Atoi(one)
		codes = append(codes, code)
	}
	slices.Sort(codes)
	return slices.Compact(codes)
}

// Requests are several requests: listed, or those of a targets file of vegeta.
type Requests struct {
	File string    `yaml:"file,omitempty" doc:"a targets file in vegeta's HTTP format, named from the scenario's folder"`
	List []Request `yaml:"-"`
	// Hosts are what a targets file names before the paths, such as http://localhost:8080.
	Hosts []string `yaml:"-"`
}

// Asked are the requests of a custom target, and the index of the one that instances are
// asked directly: -1 where there is none, at an address.
func (t *Target) Asked() (all []Request, probe int) {
	switch {
	case t.Requests != nil:
		all = t.Requests.List
	case t.Request != nil:
		all = []Request{*t.Request}
	}
	probe = slices.IndexFunc(all, func(r Request) bool { return r.Probe })
	if probe < 0 {
		probe = slices.IndexFunc(all, func(r Request) bool { return r.safe() })
	}
	return all, probe
}

// safe says whether the request changes nothing (RFC 9110, 9.2.1), so that it may be sent
// at any time.
func (r *Request) safe() bool { return r.Method == http.MethodGet || r.Method == http.MethodHead }

// Label is the request as people call it: its method and its path.
func (r *Request) Label() string { return r.Method + " " + r.Path }

// request reads a request, and its body.
func (d *decoder) request(n *node, path string, to *Request) {
	d.fields(n, path, reflect.ValueOf(to).Elem())
	if n.kind != mapping {
		return
	}
	body := n.get("body")
	switch {
	case body != nil && n.get("body_file") != nil:
		d.problem(body.line, body.column, join(path, "body")+" and body_file are both there", "remove one of them")
	case body != nil && n.get("method") == nil && to.Body != "":
		d.problem(body.line, body.column, join(path, "body")+" is what is sent, and a GET sends none",
			"say method: POST; what the answer must be is expect: {body: ...}")
	case to.BodyFile != "":
		to.Sent = d.readBeside(n.get("body_file"), to.BodyFile, "bodies are")
	case to.Body != "":
		to.Sent = []byte(to.Body)
	}
}

// requests reads several requests: a list of them, or the name of a targets file.
func (d *decoder) requests(n *node, path string, to *Requests) {
	if n.kind == sequence {
		d.list(n, path, func(n *node, path string) {
			var r Request
			d.request(n, path, &r)
			to.List = append(to.List, r)
		})
		if len(n.items) == 0 {
			d.problem(n.line, n.column, path+" is empty", "such as {path: /}")
		}
		return
	}
	if n.kind != mapping {
		d.mismatch(n, path, "a list", "or {file: a targets file of vegeta}")
		return
	}
	d.fields(n, path, reflect.ValueOf(to).Elem())
	if file := n.get("file"); to.File != "" {
		to.List, to.Hosts = d.targetsFile(file, to.File)
	} else if file == nil {
		d.problem(n.line, n.column, join(path, "file")+" is missing", "the name of a targets file, or write a list")
	}
}

// statuses reads one status or several.
func (d *decoder) statuses(n *node, path string, to *Statuses) {
	*to = nil
	one := func(n *node, path string) {
		if n.kind != number && n.kind != text || !statusForm.MatchString(n.value) {
			d.problem(n.line, n.column, path+" must be a status, 200..599, or 2xx for all of a class, not "+quote(n.value), statusHint(n.value))
			return
		}
		*to = append(*to, n.value)
	}
	if n.kind != sequence {
		one(n, path)
		return
	}
	d.list(n, path, one)
	if len(n.items) == 0 {
		d.problem(n.line, n.column, path+" is empty", "such as [200, 204]")
	}
}

func statusHint(value string) string {
	if code, err := strconv.Atoi(value); err == nil && code >= 0 && code < 200 {
		return "below 200 is no answer yet"
	}
	return "such as 200, 2xx or [200, 404]"
}

// targetsFile reads a file of vegeta's HTTP format: vegeta itself does. Bodies in it are
// named from its own folder.
func (d *decoder) targetsFile(n *node, name string) (all []Request, hosts []string) {
	data := d.readBeside(n, name, "targets files are")
	if data == nil {
		return nil, nil
	}
	path := d.beside(name)
	src := &source{file: path, lines: strings.Split(strings.ReplaceAll(string(data), "\r\n", "\n"), "\n")}
	if text := bytes.TrimSpace(data); bytes.HasPrefix(text, []byte("{")) {
		d.problem(n.line, n.column, quote(path)+" is a targets file in JSON", "write it in vegeta's HTTP format: GET http://host/path")
		return nil, nil
	}
	all, hosts = src.targets(path)
	d.problems = append(d.problems, src.problems...)
	if len(all) == 0 && len(src.problems) == 0 {
		d.problem(n.line, n.column, "there is no target in "+quote(path), "a line such as GET http://host/path")
	}
	return all, hosts
}

// methodLine is how a target begins in vegeta's format.
var methodLine = regexp.MustCompile(`^[A-Z]+\s`)

// targets are the requests in a targets file.
func (s *source) targets(path string) (all []Request, hosts []string) {
	var rest strings.Builder // what vegeta is given: bodies by their whole path
	var begins []int         // lines at which targets begin
	for i, line := range s.lines {
		trimmed := strings.TrimSpace(line)
		if body, ok := strings.CutPrefix(trimmed, "@"); ok {
			line = "@" + (&decoder{source: &source{file: path}}).beside(body)
		} else if methodLine.MatchString(trimmed) {
			begins = append(begins, i+1)
		}
		if len(line) >= bufio.MaxScanTokenSize { // vegeta would take it for the end of the file
			s.problem(i+1, 1, fmt.Sprintf("the line has %d bytes, and vegeta reads %d", len(line), bufio.MaxScanTokenSize-1), "put a long body into a file: @body.json")
			return nil, nil
		}
		rest.WriteString(line + "\n")
	}
	next := vegeta.NewHTTPTargeter(strings.NewReader(rest.String()), nil, nil)
	for {
		var target vegeta.Target
		err := next(&target)
		if err == vegeta.ErrNoTargets {
			if len(all) != len(begins) {
				s.problem(1, 1, fmt.Sprintf("vegeta reads %d targets in it, and %d lines begin as one does", len(all), len(begins)), "an empty line between targets, and none that begins with a comment behind a target's first line")
				return nil, nil
			}
			return all, hosts
		}
		line := 1
		if len(all) < len(begins) {
			line = begins[len(all)]
		}
		if err != nil {
			if len(all) > 0 {
				line = begins[len(all)-1] + 1 // what it refuses may not look like a target
			}
			line = s.lineWith(err, line)
			s.problem(line, 1, "vegeta cannot read it: "+err.Error(), "METHOD URL, then headers, then @ and the name of a body's file")
			return nil, nil
		}
		if len(all) == maxRequests {
			s.problem(line, 1, fmt.Sprintf("more than %d targets", maxRequests), "leave some out")
			return nil, nil
		}
		r, host, err := requestOf(&target)
		if err != nil {
			s.problem(line, 1, "vegeta cannot make a request of it: "+err.Error(), "")
		}
		all = append(all, r)
		if !slices.Contains(hosts, host) {
			hosts = append(hosts, host)
		}
	}
}

// lineWith is the line from one on that an error of vegeta's quotes, or that one.
func (s *source) lineWith(err error, from int) int {
	_, quoted, _ := strings.Cut(err.Error(), ": ")
	quoted, _, _ = strings.Cut(quoted, ", ")
	for i := from; quoted != "" && i <= len(s.lines); i++ {
		if strings.Contains(s.lines[i-1], quoted) {
			return i
		}
	}
	return min(from, len(s.lines))
}

// requestOf is a target of vegeta's as a request of the scenario's target, and what its URL
// has before the path.
func requestOf(from *vegeta.Target) (r Request, host string, err error) {
	presets(reflect.ValueOf(&r).Elem())
	req, err := from.Request()
	if err != nil {
		return r, "", err
	}
	r.Method, r.Path, r.Sent, r.Header = from.Method, req.URL.RequestURI(), from.Body, map[string]string{}
	for name, values := range from.Header {
		separator := ", "
		if http.CanonicalHeaderKey(name) == "Cookie" {
			separator = "; "
		}
		r.Header[name] = strings.Join(values, separator)
	}
	return r, req.URL.Scheme + "://" + req.URL.Host, nil
}

// managed are the headers that the lab's clients send by themselves.
var managed = []string{"Connection", "Content-Length", "Transfer-Encoding", "Keep-Alive", "Upgrade", "Proxy-Connection", "Te", "Trailer"}

// checkRequests checks what a custom target is asked.
func (s *Scenario) checkRequests(report report) {
	t := &s.Target
	if t.Request != nil && t.Requests != nil {
		report("target.requests", "target has both request and requests", "put the one among the others")
		return
	}
	t.checkHosts(report)
	all, probe := t.Asked()
	at := func(i int) string {
		switch {
		case t.Request != nil:
			return "target.request"
		case t.Requests.File != "":
			return "target.requests.file"
		}
		return fmt.Sprintf("target.requests[%d]", i)
	}
	fine := true
	several := -1
	for i := range all {
		fine = fine && methodForm.MatchString(all[i].Method)
		if t.Requests != nil { // else its fields have been checked as declared
			checkFields(reflect.ValueOf(&all[i]).Elem(), at(i), "", func(path, message, hint string) {
				fine = false
				if t.Requests.File != "" {
					message = all[i].Label() + ": " + message
				}
				report(path, message, hint)
			})
		}
		all[i].check(at(i), report)
		if all[i].Probe && i != probe && several < 0 {
			several = i
		}
	}
	switch {
	case several >= 0:
		report(join(at(several), "probe"), "two requests say probe: true", "instances are asked one request directly: the one that tells most")
	case probe < 0 && fine && len(all) > 0 && !t.Address(): // there nobody is asked directly
		report(at(0), "no request is a GET or a HEAD, and instances must be asked one directly, 20 times a second",
			"add a GET, or say probe: true of one that may be sent that often")
	}
	checkWeights(all, report)
}

// checkWeights checks that the weights of requests are met soon enough.
func checkWeights(all []Request, report report) {
	sum, common := 0, 0
	for _, r := range all {
		sum += r.Weight
		for a, b := common, r.Weight; ; a, b = b, a%b {
			if b == 0 {
				common = a
				break
			}
		}
	}
	if common > 0 && sum/common > maxRequests {
		report("target.requests", fmt.Sprintf("the weights of the requests are met after %d of them only, and at most %d may be", sum/common, maxRequests), "use smaller ones")
	}
}

// checkHosts checks that the targets of a targets file are those of the address.
func (t *Target) checkHosts(report report) {
	if !t.Address() || t.Requests == nil {
		return
	}
	for _, host := range t.Requests.Hosts {
		if host != strings.TrimSuffix(t.URL, "/") {
			report("target.requests.file", fmt.Sprintf("targets in %s go to %s, and target.url is %s", quote(t.Requests.File), quote(host), quote(t.URL)), "make them the same")
			return
		}
	}
}

// check reports what of a request does not go together.
func (r *Request) check(path string, report report) {
	checkHeader(join(path, "header"), r.Header, true, report)
	checkHeader(join(join(path, "expect"), "header"), r.Expect.Header, false, report)
	switch e := &r.Expect; {
	case e.Body != "" && e.BodyMatches != "":
		report(join(path, "expect"), join(path, "expect")+" has both body and body_matches", "remove one of them")
	case r.Method == http.MethodHead && e.Body+e.BodyMatches != "":
		report(join(path, "expect"), join(path, "expect")+": the answer to a HEAD has no body", "expect a status or a header")
	}
}

func checkHeader(path string, header map[string]string, sent bool, report report) {
	seen := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(header)) {
		canonical := http.CanonicalHeaderKey(name)
		at := join(path, name)
		switch {
		case !methodForm.MatchString(name):
			report(at, path+": "+quote(name)+" is no name of a header", "letters, digits and dashes")
		case seen[canonical] != "":
			report(at, path+": "+quote(name)+" and "+quote(seen[canonical])+" are the same header", "remove one of them")
		case strings.ContainsFunc(header[name], func(r rune) bool { return unicode.IsControl(r) && r != '\t' }):
			report(at, at+" holds a control character", "a header is one line")
		case sent && slices.Contains(managed, canonical):
			report(at, path+": "+quote(name)+" is sent by the lab as it is right", "remove it; whether connections are kept is in load.streams")
		}
		seen[canonical] = name
	}
}

// methodForm is what a method looks like, and the name of a header: a token (RFC 9110, 5.6.2).
var methodForm = regexp.MustCompile("^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")
