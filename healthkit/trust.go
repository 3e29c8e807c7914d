package healthkit

import (
	"net"
	"net/http"
	"strings"
	"unicode/utf8"
)

// maxReason is how many bytes of a reason are kept.
const maxReason = 1 << 10

const (
	cutMark  = " ... (cut)"
	withheld = "reason withheld"
)

// clean is the one way in for a text of the service: it is valid UTF-8 after it, and at
// most maxReason bytes.
func clean(text string) string {
	if isClean(text) {
		return text
	}
	cut := len(text) > maxReason
	if cut {
		text = text[:maxReason]
	}
	text = strings.ToValidUTF8(text, "\uFFFD")
	if !cut && len(text) <= maxReason {
		return text
	}
	end := min(len(text), maxReason-len(cutMark))
	for end < len(text) && !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + cutMark
}

// isClean is asked with every new reason. Most are short and ASCII, which is seen in half the
// time of ValidString.
func isClean(text string) bool {
	if len(text) > maxReason {
		return false
	}
	all := byte(0)
	for i := range len(text) {
		all |= text[i]
	}
	return all < utf8.RuneSelf || utf8.ValidString(text)
}

// passedOn are headers of requests that somebody passed on, or that a page in a browser made:
// it asks from this machine, but not for itself. They only ever take trust away.
var passedOn = []string{
	"Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Port", "X-Forwarded-Proto", "X-Forwarded-Server",
	"X-Client-Ip", "X-Real-Ip", "X-Envoy-Expected-Rq-Timeout-Ms", "L5d-Client-Id", "Origin",
}

// FromLoopback tells whether a request came over a loopback address or a unix socket, from
// somebody who asks for himself: the probe command, a shell in the container, kubectl
// port-forward. A request that says that it was passed on (X-Forwarded-For, Via and the like)
// or that a page made it (Origin) does not count, and none of these headers makes one count.
// Nor does one over loopback that asks for a host by another name than localhost: somebody's
// proxy made it, or a page whose name was made to lead here.
//
// A proxy on the same machine that passes requests on and does not say so looks like this
// machine: nginx says nothing, and asks for 127.0.0.1, unless it is configured to. Where one
// stands before the probes, Config.Details and Config.DrainFrom have to be something else. The
// kubelet, and the proxy of the Kubernetes API server, come from the node.
func FromLoopback(req *http.Request) bool {
	a := req.RemoteAddr
	switch {
	case strings.HasPrefix(a, "127."), strings.HasPrefix(a, "[::1]:"):
		host, _, err := net.SplitHostPort(a)
		if ip := net.ParseIP(host); err != nil || ip == nil || !ip.IsLoopback() || !hostIsHere(req.Host) {
			return false
		}
	case a == "", a[0] == '@', a[0] == '/':
		// What a client of a unix socket is called is up to him; where he came in is not.
		if local, ok := req.Context().Value(http.LocalAddrContextKey).(net.Addr); !ok || local.Network() != "unix" {
			return false
		}
	default:
		return false
	}
	for _, name := range passedOn {
		if len(req.Header[name]) > 0 {
			return false
		}
	}
	return true
}

// hostIsHere tells whether a Host header is an address, localhost or nothing.
func hostIsHere(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.Trim(host, "[]")
	return host == "" || strings.EqualFold(host, "localhost") || net.ParseIP(host) != nil
}

func (r *Registry) mayDrain(req *http.Request) bool {
	if r.cfg.DrainFrom != nil {
		return r.cfg.DrainFrom(req)
	}
	return FromLoopback(req)
}

// shown is the snapshot as the client may see it.
func (r *Registry) shown(req *http.Request) *Snapshot {
	s := r.Snapshot()
	details := r.cfg.Details
	if details == nil {
		details = FromLoopback
		// 10., 172. and 192., as most are, without a call.
		if a := req.RemoteAddr; len(a) > 1 && a[0] == '1' && a[1] != '2' {
			return s.WithoutReasons()
		}
	}
	if details(req) {
		return s
	}
	return s.WithoutReasons()
}

// WithoutReasons returns the same snapshot with "reason withheld" in place of every text that
// the service gave: reasons of components and of the phase, and last errors. Names, states,
// times and all verdicts stay. It is what the Handler shows to those whom Config.Details does
// not let see more.
func (s *Snapshot) WithoutReasons() *Snapshot {
	if p := s.plain.Load(); p != nil {
		return p
	}
	return s.withhold()
}

func (s *Snapshot) withhold() *Snapshot {
	p := &Snapshot{
		Version: s.Version, Phase: s.Phase, PhaseSince: s.PhaseSince, PhaseReason: withhold(s.PhaseReason),
		Started: s.Started, Created: s.Created, FirstReady: s.FirstReady,
		Components: make([]ComponentStatus, len(s.Components)), Loops: s.Loops,
		Generations: s.Generations, Missing: s.Missing, Unknown: s.Unknown,
		allowEmpty: s.allowEmpty, ready: s.ready, live: s.live,
	}
	for i, c := range s.Components {
		if c.AtLeast == 0 { // the reason of a group is the registry's own
			c.Reason = withhold(c.Reason)
		}
		c.LastError = withhold(c.LastError)
		if own, _, ok := strings.Cut(c.Pending, pendingReason); ok {
			c.Pending = own + pendingReason + withheld
		}
		p.Components[i] = c
	}
	p.plain.Store(p)
	s.plain.Store(p)
	return p
}

func withhold(text string) string {
	if text == "" {
		return ""
	}
	return withheld
}
