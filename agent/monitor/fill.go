package monitor

import "time"

// Sample is how much of a file system was free at a moment.
type Sample struct {
	At   time.Time `json:"at"`
	Free int64     `json:"free"`
}

const (
	// apart is how far samples are from each other, window how far they go back.
	apart, window = 5 * time.Minute, 6 * time.Hour
	// least is how long must have been looked at before anything is foretold.
	least = 30 * time.Minute
)

// Remember adds a sample to those of the last hours, when the last one is old enough. A clock that was set makes them
// worthless: they begin anew.
func Remember(list []Sample, s Sample) []Sample {
	if n := len(list); n > 0 {
		switch gone := s.At.Sub(list[n-1].At); {
		case gone < 0 || gone > window:
			return []Sample{s}
		case gone < apart:
			return list
		}
	}
	for len(list) > 0 && s.At.Sub(list[0].At) > window {
		list = list[1:]
	}
	return append(list[:len(list):len(list)], s)
}

// HoursLeft foretells when nothing is free, by the straight line that fits the samples best; 0 when it does not fill, or
// was not looked at for long enough. What is deleted once, such as WAL after a checkpoint, does not change the line much.
func HoursLeft(list []Sample) float64 {
	n := len(list)
	if n < 3 || list[n-1].At.Sub(list[0].At) < least {
		return 0
	}
	var sumX, sumY, sumXX, sumXY float64
	for _, s := range list {
		x, y := s.At.Sub(list[0].At).Hours(), float64(s.Free)
		sumX, sumY, sumXX, sumXY = sumX+x, sumY+y, sumXX+x*x, sumXY+x*y
	}
	k := float64(n)
	slope := (k*sumXY - sumX*sumY) / (k*sumXX - sumX*sumX) // bytes an hour
	if slope >= 0 {
		return 0
	}
	return float64(list[n-1].Free) / -slope
}
