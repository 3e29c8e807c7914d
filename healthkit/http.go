package healthkit

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
)

// Answers that never change are built once, and their header values shared, so
// that a probe allocates nothing.
var (
	textPlain   = []string{"text/plain; charset=utf-8"}
	textJSON    = []string{"application/json"}
	noStore     = []string{"no-store"}
	okBody      = []byte("ok")
	notReady    = []byte("not ready, see ?verbose\n")
	notLive     = []byte("not live, see ?verbose\n")
	notStarted  = []byte("not started, see ?verbose\n")
	drainedBody = []byte("drained\n")
)

// Handler answers probes. It serves these paths; what is to come before them is
// another mux's (use http.StripPrefix):
//
//	/readyz    200 "ok" or 503: route requests here?
//	/readyz/NAME
//	           200 "ok" or 503: does this component or group serve, whatever that
//	           means for the process? 404 when no component has the name
//	/livez     200 "ok" or 503: does the process make progress?
//	/startupz  200 "ok" or 503: was it ever ready?
//	/drainz    200 when nothing is in flight and nothing is taken any more,
//	           503 with the phase before; POST asks for a drain (Config.OnDrain,
//	           Config.DrainFrom)
//	/statusz   200 and the whole snapshot as JSON, with the causes
//
// ?verbose makes the first four list what they judged, the verdict in the
// first line. ?exclude=NAME, repeated, makes /readyz judge without components;
// a name that no component has is named in a warning line, and changes
// nothing else. Reasons are shown to those whom Config.Details lets see them, by
// default to this machine. A brief answer allocates nothing and takes the same time
// whatever the number of components. No answer waits for a check.
func (r *Registry) Handler() http.Handler { return (*handler)(r) }

// isProbe tells whether Handler answers a path.
func isProbe(path string) bool {
	switch path {
	case "/readyz", "/livez", "/startupz", "/drainz", "/statusz":
		return true
	}
	return strings.HasPrefix(path, "/readyz/")
}

type handler Registry

func (h *handler) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	r := (*Registry)(h)
	if req.Method != http.MethodGet && req.Method != http.MethodHead && (req.URL.Path != "/drainz" || req.Method != http.MethodPost) {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
		return
	}
	switch req.URL.Path {
	case "/readyz":
		if req.URL.RawQuery != "" {
			r.serveReadyQuery(w, req)
			return
		}
		brief(w, r.Ready(), notReady)
	case "/livez":
		if req.URL.RawQuery != "" && req.URL.Query().Has("verbose") {
			s := r.shown(req)
			answer(w, s.live, cached(&s.liveText, s.verboseLive))
			return
		}
		brief(w, r.Live(), notLive)
	case "/startupz":
		if req.URL.RawQuery != "" && req.URL.Query().Has("verbose") {
			s := r.shown(req)
			answer(w, s.Started, cached(&s.startText, s.verboseStartup))
			return
		}
		brief(w, r.Started(), notStarted)
	case "/drainz":
		r.serveDrain(w, req)
	case "/statusz":
		r.serveStatus(w, req)
	default:
		if name, ok := strings.CutPrefix(req.URL.Path, "/readyz/"); ok {
			r.serveOne(w, req, name)
			return
		}
		http.NotFound(w, req)
	}
}

func brief(w http.ResponseWriter, ok bool, otherwise []byte) {
	if ok {
		otherwise = okBody
	}
	answer(w, ok, otherwise)
}

func answer(w http.ResponseWriter, ok bool, body []byte) {
	header := w.Header()
	header["Content-Type"] = textPlain
	header["Cache-Control"] = noStore
	if !ok {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	// A prober that went away is no concern of the process.
	_, _ = w.Write(body)
}

func (r *Registry) serveReadyQuery(w http.ResponseWriter, req *http.Request) {
	s := r.shown(req)
	if req.URL.RawQuery == "verbose" {
		answer(w, s.ready, cached(&s.readyText, s.verboseReady))
		return
	}
	query := req.URL.Query()
	ready, unknown := s.ready, []string(nil)
	var warning []byte
	if exclude := query["exclude"]; len(exclude) > 0 {
		ready, unknown = s.ReadyWithout(exclude...)
		for _, name := range unknown {
			warning = append(strconv.AppendQuote(append(warning, "warning: exclude names no component: "...), name), '\n')
		}
	}
	switch {
	case query.Has("verbose"):
		answer(w, ready, s.appendVerbose(warning, ready, query["exclude"]))
	case len(warning) > 0 && ready:
		answer(w, ready, append(append(okBody[:len(okBody):len(okBody)], '\n'), warning...))
	case len(warning) > 0:
		answer(w, ready, append(notReady[:len(notReady):len(notReady)], warning...))
	default:
		brief(w, ready, notReady)
	}
}

// serveOne answers for one component. Its names are no secret.
func (r *Registry) serveOne(w http.ResponseWriter, req *http.Request, name string) {
	s := r.shown(req)
	c, ok := s.Component(name)
	switch {
	case ok && req.URL.RawQuery != "" && req.URL.Query().Has("verbose"):
		answer(w, c.State.serves(), s.appendOne(nil, c))
	case ok:
		brief(w, c.State.serves(), []byte(c.State.String()+", see ?verbose\n"))
	case s.knows(name):
		answer(w, false, []byte(missingText(name)+"\n"))
	default:
		http.Error(w, "no component is called "+strconv.QuoteToASCII(name)+s.hint(0, name), http.StatusNotFound)
	}
}

func (r *Registry) serveDrain(w http.ResponseWriter, req *http.Request) {
	if req.Method == http.MethodPost {
		if r.cfg.OnDrain == nil {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "this process does not take drain requests", http.StatusMethodNotAllowed)
			return
		}
		if !r.mayDrain(req) {
			http.Error(w, "this process takes no drain request from there", http.StatusForbidden)
			return
		}
		r.drainOnce.Do(func() { go r.cfg.OnDrain() })
		header := w.Header()
		header["Content-Type"] = textPlain
		header["Cache-Control"] = noStore
		w.WriteHeader(http.StatusAccepted)
		_, _ = w.Write([]byte("drain requested\n"))
		return
	}
	phase := r.Phase()
	if phase == PhaseStopped {
		answer(w, true, drainedBody)
		return
	}
	answer(w, false, []byte(phase.String()+", "+strconv.Itoa(r.InFlight())+" in flight\n"))
}

// status is the body of /statusz.
type status struct {
	Ready      bool    `json:"ready"`
	Live       bool    `json:"live"`
	Degraded   bool    `json:"degraded"`
	Reason     string  `json:"reason"`
	LiveReason string  `json:"live_reason"`
	InFlight   int     `json:"in_flight"`
	Causes     []Cause `json:"causes,omitempty"`
	*Snapshot
}

func (r *Registry) serveStatus(w http.ResponseWriter, req *http.Request) {
	s := r.shown(req)
	body, err := json.MarshalIndent(status{
		Ready: s.ready, Live: s.live, Degraded: s.Degraded(),
		Reason: s.Reason(), LiveReason: s.LiveReason(),
		InFlight: r.InFlight(), Causes: s.Causes(), Snapshot: s,
	}, "", "  ")
	if err != nil {
		http.Error(w, "render status: "+err.Error(), http.StatusInternalServerError)
		return
	}
	header := w.Header()
	header["Content-Type"] = textJSON
	header["Cache-Control"] = noStore
	_, _ = w.Write(append(body, '\n'))
}
