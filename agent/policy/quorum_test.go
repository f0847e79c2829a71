package policy

import "testing"

// dumbQuorum counts up until twice that many are more than all.
func dumbQuorum(n int) int {
	for q := 0; q <= n; q++ {
		if 2*q > n {
			return q
		}
	}
	return 0
}

// dumbRemoval plays it through: it lines up the voters, strikes one out, and
// counts who is left and well.
func dumbRemoval(voters, healthyRest int) bool {
	left := make([]bool, voters) // well or not; the last one is struck out
	for i := range left {
		left[i] = i < healthyRest
	}
	left = left[:len(left)-1]
	well, ill := 0, 0
	for _, ok := range left {
		if ok {
			well++
		} else {
			ill++
		}
	}
	return well > ill
}

func TestQuorumTwin(t *testing.T) {
	for n := -2; n <= 60; n++ {
		if got, want := Quorum(n), dumbQuorum(max(n, 0)); n > 0 && got != want || n <= 0 && got != 0 {
			t.Errorf("Quorum(%d) = %d, want %d", n, got, want)
		}
	}
	for voters := 1; voters <= 30; voters++ {
		for rest := 0; rest < voters; rest++ {
			if got, want := RemovalKeepsQuorum(voters, rest), dumbRemoval(voters, rest); got != want {
				t.Errorf("RemovalKeepsQuorum(%d, %d) = %t, want %t", voters, rest, got, want)
			}
		}
	}
}

// TestAdditionTwin: with the new voter dead, the old healthy ones must still be a
// majority of all; only a single voter cannot be asked that.
func TestAdditionTwin(t *testing.T) {
	for voters := 1; voters <= 30; voters++ {
		for healthy := 0; healthy <= voters; healthy++ {
			want := healthy > voters+1-healthy
			if voters == 1 {
				want = healthy == 1
			}
			if got := AdditionKeepsQuorum(voters, healthy); got != want {
				t.Errorf("AdditionKeepsQuorum(%d, %d) = %t, want %t", voters, healthy, got, want)
			}
		}
	}
}
