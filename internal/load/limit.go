package load

import (
	"fmt"
	"math"
	"strings"
	"time"
)

const (
	// maxInFlight bounds the requests in flight, whatever the limit of open files: one that
	// hangs costs some 50 kB.
	maxInFlight = 131_072

	// spareDescriptors is how many open files are left for everything else: the record, the
	// instances' pipes, direct probes, connections that wait.
	spareDescriptors = 512
)

// Demand is what a load can come to need of this process: all of it when everything hangs,
// which must be measurable as just that and not as trouble of the harness.
type Demand struct {
	Rate        float64 // hits a second
	Hits        uint64  // how many
	Timeout     time.Duration
	Kept        int     // connections that are kept, whether or not they are in use
	Reference   float64 // requests a second of the reference client, which hang as well
	LabBalancer bool    // requests go through the lab's own balancer, in this process
}

// inFlight is how many requests can be in flight at once.
func (d Demand) inFlight() float64 {
	return min(math.Ceil(d.Rate*d.Timeout.Seconds()), float64(d.Hits))
}

// filesEach is how many open files a request in flight takes: its connection, and in the
// lab's own balancer that one's other end and the connection to the instance.
func (d Demand) filesEach() uint64 {
	if d.LabBalancer {
		return 3
	}
	return 1
}

// standing is how many files are open whatever the load does.
func (d Demand) standing() uint64 {
	return d.filesEach()*(uint64(d.Kept)+d.referenceInFlight()) + spareDescriptors
}

// referenceInFlight is half as many again as the reference client's requests are in flight on
// average when everything hangs: they come at random.
func (d Demand) referenceInFlight() uint64 {
	longest := min(d.Timeout.Seconds(), float64(d.Hits)/d.Rate)
	return uint64(math.Ceil(1.5 * d.Reference * longest))
}

// workers is half as many again as there can be requests in flight by the schedule.
func (d Demand) workers() uint64 { return uint64(max(math.Ceil(1.5*d.inFlight()), 16)) }

// Prepare makes sure that this process can hold what the load can come to need, and raises
// its limit of open files where it may. The error is a *LimitError.
func (d Demand) Prepare() error { return d.prepare(ensureDescriptors) }

func (d Demand) prepare(ensure func(uint64) (uint64, error)) error {
	if d.inFlight() > maxInFlight {
		return &LimitError{Demand: d, Need: uint64(d.inFlight()), Have: maxInFlight, what: "hold %d requests in flight, and the lab can hold %d"}
	}
	need := d.filesEach()*uint64(d.inFlight()) + d.standing()
	have, err := ensure(need)
	if err != nil {
		return err
	}
	if have < need {
		return &LimitError{Demand: d, Need: need, Have: have, what: "hold %d files open, and this process may open %d", files: true}
	}
	return nil
}

// LimitError says that a hang of the target could not be measured here.
type LimitError struct {
	Demand
	Need, Have uint64

	what  string
	files bool // it is about open files
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("%.6g requests a second with a timeout of %v, all of them hanging, would "+e.what, e.Rate, e.Timeout, e.Need, e.Have)
}

// Hint is advice for the person who sees the error.
func (e *LimitError) Hint() string {
	fits := float64(e.Have)
	if e.files {
		fits = (fits - float64(e.standing())) / float64(e.filesEach())
	}
	var ways []string
	if e.files {
		ways = append(ways, fmt.Sprintf("ulimit -n %d", e.Need))
	}
	if rate := math.Floor(fits / e.Timeout.Seconds()); rate >= 1 {
		ways = append(ways, fmt.Sprintf("--rate %.0f", rate))
	}
	if timeout := time.Duration(fits / e.Rate * float64(time.Second)).Truncate(time.Millisecond); timeout > 0 {
		ways = append(ways, fmt.Sprintf("load.timeout: %v", timeout))
	}
	return strings.Join(ways, ", or ")
}
