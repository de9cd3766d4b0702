package audit

// Notable are the kinds that operators should look into. They are rare, and the
// store finds them quickly.
var Notable = []Kind{
	RefreshReuse, TagMismatch, GenerationAhead, ClockBackwards, StoreTurnedBack, UserBlocked, TenantEnded, KeyChanged, PolicyChanged,
}
