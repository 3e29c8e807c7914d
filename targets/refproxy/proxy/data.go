package proxy

import (
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/rollout-lab/rollout-lab/targets/refproxy/policy"
)

// The headers of every answer, and the one that the upstream learns the session from.
const (
	InstanceHeader = "Rollout-Lab-Instance"
	RevisionHeader = "Rollout-Lab-Revision"
	ReasonHeader   = "Rollout-Lab-Reason" // of a refusal only
	SessionHeader  = "Rollout-Lab-Session"
)

// dataPlane answers requests: it lets each one through to the upstream, or refuses it.
type dataPlane struct {
	subsystem
	instance, revision string
	failOpen           bool
	maxBody            int64         // of a request, in bytes
	maxAge             time.Duration // of the state that it serves by; 0 means for ever

	faults *faults      // nil where none are allowed
	probes http.Handler // of the health port

	authenticate *authenticate
	storage      *storage
	authorize    *authorize
	config       *subsystem
	forward      *httputil.ReverseProxy
}

// refusal is an answer that the proxy gives itself.
type refusal struct {
	status int
	reason string
}

// newDataPlane returns the data plane to an upstream, and its name for itself.
func newDataPlane(o Options, upstream *url.URL, transport http.RoundTripper, parts *parts) *dataPlane {
	d := &dataPlane{
		instance: o.Instance, revision: o.Revision, failOpen: o.FailOpen, maxBody: o.limits.withDefaults().body,
		authenticate: parts.authenticate, storage: parts.storage, authorize: parts.authorize,
	}
	if o.FailClosed {
		d.maxAge = o.StaleAfter
	}
	d.name = "proxy"
	d.set(status{reason: "upstream not reached yet"})
	d.forward = &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.RawPath = "" // the path that was decided on, and not how the client spelt it
			r.SetURL(upstream)
			// Before this, whatever the client's Connection header names was taken out.
			if session, ok := r.In.Header[SessionHeader]; ok {
				r.Out.Header[SessionHeader] = session
			}
		},
		Transport:  onceTransport{transport},
		BufferPool: &bufferPool{},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			if tooLarge, ok := errors.AsType[*http.MaxBytesError](err); ok {
				refuse(w, bodyOver(tooLarge.Limit))
				return
			}
			refuse(w, refusal{http.StatusBadGateway, "proxy: upstream: " + err.Error()})
		},
		// What it would log, the client sees: an answer that breaks off.
		ErrorLog: log.New(io.Discard, "", 0),
	}
	if o.Misbehave == WrongAnswers {
		d.forward.ModifyResponse = falsify
	}
	return d
}

// ServeHTTP answers one request.
func (d *dataPlane) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h[InstanceHeader] = []string{d.instance}
	h[RevisionHeader] = []string{d.revision}
	if d.faults.intercept(w, r, d.probes) {
		return
	}
	session, no := d.decide(r)
	if no.status != 0 {
		refuse(w, no)
		return
	}
	if r.ContentLength > d.maxBody {
		refuse(w, bodyOver(d.maxBody))
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, d.maxBody) // its length may not have been said
	// The token ends here: the upstream must not be able to use it anywhere else, and
	// only the proxy says to the upstream who is asking.
	delete(r.Header, "Authorization")
	for name := range r.Header {
		if namesSession(name) {
			delete(r.Header, name)
		}
	}
	if session != "" {
		r.Header[SessionHeader] = []string{session}
	}
	d.forward.ServeHTTP(w, r)
}

// namesSession reports whether an upstream may read a header as that of the session: many take an
// underscore for a hyphen.
func namesSession(name string) bool {
	return len(name) == len(SessionHeader) && strings.EqualFold(strings.ReplaceAll(name, "_", "-"), SessionHeader)
}

// decide returns the session that a request is let through for, or the refusal. The
// session is empty when the proxy fails open and cannot know it.
func (d *dataPlane) decide(r *http.Request) (string, refusal) {
	if !canonical(r.URL) {
		return "", refusal{http.StatusBadRequest, "proxy: path is not in canonical form"}
	}
	token, ok := bearer(r.Header.Get("Authorization"))
	if !ok {
		return "", refusal{http.StatusUnauthorized, "authenticate: no bearer token"}
	}

	id := ""
	if verifier := d.authenticate.verifier.Load(); verifier != nil {
		var err error
		if id, err = verifier.Session(token); err != nil {
			return "", refusal{http.StatusUnauthorized, "authenticate: " + err.Error()}
		}
	} else if !d.failOpen {
		return "", undecided(&d.authenticate.subsystem, "")
	}

	record, known, synced := d.storage.lookup(id)
	switch {
	case !synced && !d.failOpen:
		return "", undecided(&d.storage.subsystem, d.storage.progress())
	case id == "" || !synced:
		known = false
	case !known:
		return "", refusal{http.StatusForbidden, "storage: unknown session"}
	case record.revoked:
		return "", refusal{http.StatusForbidden, "storage: session is revoked"}
	}

	table := d.authorize.table.Load()
	if table == nil {
		if !d.failOpen {
			return "", undecided(&d.authorize.subsystem, "")
		}
		return id, refusal{}
	}
	verdict := table.DecideUnknown(r.URL.Path)
	if known {
		verdict = table.Decide(r.URL.Path, record.group)
	}
	switch verdict {
	case policy.Allow:
		return id, d.expired()
	case policy.NoRoute:
		return "", refusal{http.StatusNotFound, "authorize: no route"}
	default:
		return "", refusal{http.StatusForbidden, fmt.Sprintf("authorize: denied by generation %d", table.Generation())}
	}
}

// expired refuses what rests on state that is older than its maximum age: what was revoked since
// then is not known.
func (d *dataPlane) expired() refusal {
	if d.maxAge == 0 {
		return refusal{}
	}
	for _, s := range []*subsystem{&d.storage.subsystem, d.config} {
		if age := s.age(); age > d.maxAge {
			return undecided(s, fmt.Sprintf("nothing heard from the control plane for %v, and %v is the most that it counts", age.Round(time.Millisecond), d.maxAge))
		}
	}
	return refusal{}
}

// bodyOver refuses a request for the size of its body.
func bodyOver(most int64) refusal {
	return refusal{http.StatusRequestEntityTooLarge, fmt.Sprintf("proxy: body has more than %d bytes", most)}
}

// undecided refuses a request that a subsystem lacks the state to decide about.
func undecided(s *subsystem, reason string) refusal {
	if reason == "" {
		reason = s.status().reason
	}
	return refusal{http.StatusServiceUnavailable, s.name + ": " + reason}
}

// refuse answers with a refusal.
func refuse(w http.ResponseWriter, no refusal) {
	reason := oneLine(no.reason)
	h := w.Header()
	h.Set(ReasonHeader, reason)
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(len(reason)+1))
	if no.status == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", "Bearer")
	}
	w.WriteHeader(no.status)
	// An error here means that the client is gone: there is nobody to tell.
	_, _ = io.WriteString(w, reason+"\n")
}

// oneLine makes a text that errors may have gone into fit for a header.
func oneLine(text string) string {
	const most = 300
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, text)
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "")
	}
	return text
}

// bearer takes the token out of an Authorization header.
func bearer(header string) (string, bool) {
	const scheme = "bearer "
	if len(header) <= len(scheme) || !strings.EqualFold(header[:len(scheme)], scheme) {
		return "", false
	}
	return header[len(scheme):], true
}

// bufferPool lends the buffers that answers are copied through.
type bufferPool struct{ pool sync.Pool }

func (b *bufferPool) Get() []byte {
	if buf, ok := b.pool.Get().(*[]byte); ok {
		return *buf
	}
	return make([]byte, 16<<10)
}

func (b *bufferPool) Put(buf []byte) { b.pool.Put(&buf) }

// newTransport returns the transport to the upstream. It keeps as many idle connections
// as there were ever requests at once, for less than the upstream does.
func newTransport() *http.Transport {
	return &http.Transport{
		MaxIdleConnsPerHost: 1024,
		IdleConnTimeout:     30 * time.Second,
		DisableCompression:  true,
	}
}

// onceTransport sends each request at most once. A Transport on its own sends a request
// again, unasked and unseen, when a kept connection turns out to be dead and the request
// has no body or one that can be had again. A proxy that does so hides exactly the
// failures that it is here to show, so no request that gets to the transport looks
// replayable.
type onceTransport struct{ next http.RoundTripper }

func (t onceTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	once := new(http.Request)
	*once = *r
	once.GetBody = nil
	if once.Body == nil || once.Body == http.NoBody {
		// A body that is there and turns out to be empty: nothing of it goes on the
		// wire for a method that needs none, but the transport cannot know that before.
		once.Body = emptyBody{}
	}
	return t.next.RoundTrip(once)
}

// emptyBody is a body without content that is not http.NoBody.
type emptyBody struct{}

func (emptyBody) Read([]byte) (int, error) { return 0, io.EOF }
func (emptyBody) Close() error             { return nil }
