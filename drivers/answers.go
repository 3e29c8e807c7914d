package drivers

// The headers in which an answer says where it comes from. A target of the lab sends them; a
// balancer that a driver brings may add EndpointHeader, and the reason of its own answers.
const (
	InstanceHeader = "Rollout-Lab-Instance" // the instance that answered
	RevisionHeader = "Rollout-Lab-Revision" // its revision
	EndpointHeader = "Rollout-Lab-Endpoint" // from a balancer: the instance that answered, or was tried
	ReasonHeader   = "Rollout-Lab-Reason"   // why a request was refused, of refusals only
)

// The reasons of a balancer's own answers that others understand. A balancer that passes
// connections on has no answers: they are the reasons of a Way then, and what the client sees
// is the end of its connection. Where a connection to the
// instance broke, the reason of its 502 is reset or eof.
const (
	NoInstanceReason = "no ready endpoint" // of a 503: nobody is routed to
	RefusedReason    = "connect refused"   // of a 502: the instance listens no more
	// UnprocessedReason is that of a 502 for a request which an instance that speaks HTTP/2 has
	// turned away (GOAWAY, REFUSED_STREAM): whoever repeats it does nothing twice. The lab's
	// balancer does not.
	UnprocessedReason = "refused unprocessed"
)

// HarnessReason begins the reason of a balancer's 502 that is no instance's fault: the
// machine had no descriptor, port or buffer left to connect with. It says nothing about the
// instance, so it must not be held against one.
const HarnessReason = "harness: "
