package policy

// Quorum is how many of n voters must agree: a majority. 0 for n <= 0.
func Quorum(n int) int {
	if n <= 0 {
		return 0
	}
	return n/2 + 1
}

// RemovalKeepsQuorum reports whether, of voters voters of which healthyRest are
// healthy and are not the one to be removed, the rest after removing one is a
// healthy majority of the new size. Removing the last voter never is.
func RemovalKeepsQuorum(voters, healthyRest int) bool {
	return voters > 1 && healthyRest >= Quorum(voters-1)
}

// AdditionKeepsQuorum reports whether healthy voters suffice for the quorum
// that one more voter will need, the new one not counted.
func AdditionKeepsQuorum(voters, healthy int) bool {
	// A first second voter cannot be a majority of two without itself.
	if voters == 1 {
		return healthy == 1
	}
	return healthy >= Quorum(voters+1)
}
