/* For the intrinsics' own header. */
typedef long long jmp_buf[32];
