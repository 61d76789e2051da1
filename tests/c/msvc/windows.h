/* What pool.c uses of Windows. */
#define WINAPI __stdcall
#define INFINITE 0xFFFFFFFF
#define SRWLOCK_INIT {0}
#define CONDITION_VARIABLE_INIT {0}
#define NULL ((void *)0)
typedef unsigned long DWORD;
typedef int BOOL;
typedef size_t DWORD_PTR;
typedef void *HANDLE;
typedef struct {
    void *own;
} SRWLOCK, CONDITION_VARIABLE;
typedef DWORD(WINAPI *LPTHREAD_START_ROUTINE)(void *);
void WINAPI AcquireSRWLockExclusive(SRWLOCK *);
void WINAPI ReleaseSRWLockExclusive(SRWLOCK *);
BOOL WINAPI SleepConditionVariableSRW(CONDITION_VARIABLE *, SRWLOCK *, DWORD, DWORD);
void WINAPI WakeAllConditionVariable(CONDITION_VARIABLE *);
BOOL WINAPI SwitchToThread(void);
HANDLE WINAPI CreateThread(void *, size_t, LPTHREAD_START_ROUTINE, void *, DWORD, DWORD *);
BOOL WINAPI CloseHandle(HANDLE);
HANDLE WINAPI GetCurrentProcess(void);
BOOL WINAPI GetProcessAffinityMask(HANDLE, DWORD_PTR *, DWORD_PTR *);
unsigned long long WINAPI GetTickCount64(void);
