//go:build !purego

#include "textflag.h"

// COUNTER puts the next counter block into x: X8 has its first half, DI counts.
#define COUNTER(x) \
	MOVQ       DI, R8 \
	BSWAPQ     R8     \
	MOVQ       R8, X9 \
	MOVO       X8, x  \
	PUNPCKLQDQ X9, x  \
	INCQ       DI

// BEGIN4, ROUND4 and LAST4 take four blocks through a round with the key at an address, BEGIN1, ROUND1 and LAST1 one.
#define BEGIN4(key) \
	MOVOU key, X4 \
	PXOR  X4, X0  \
	PXOR  X4, X1  \
	PXOR  X4, X2  \
	PXOR  X4, X3

#define ROUND4(key) \
	MOVOU  key, X4 \
	AESENC X4, X0  \
	AESENC X4, X1  \
	AESENC X4, X2  \
	AESENC X4, X3

#define LAST4(key) \
	MOVOU      key, X4 \
	AESENCLAST X4, X0  \
	AESENCLAST X4, X1  \
	AESENCLAST X4, X2  \
	AESENCLAST X4, X3

#define BEGIN1(key) \
	MOVOU key, X4 \
	PXOR  X4, X0

#define ROUND1(key) \
	MOVOU  key, X4 \
	AESENC X4, X0

#define LAST1(key) \
	MOVOU      key, X4 \
	AESENCLAST X4, X0

// NINE has the rounds of every key, TWO and TWOMORE those of longer ones.
#define NINE(ROUND) \
	ROUND(16(AX))  \
	ROUND(32(AX))  \
	ROUND(48(AX))  \
	ROUND(64(AX))  \
	ROUND(80(AX))  \
	ROUND(96(AX))  \
	ROUND(112(AX)) \
	ROUND(128(AX)) \
	ROUND(144(AX))

#define TWO(ROUND) \
	ROUND(160(AX)) \
	ROUND(176(AX))

#define TWOMORE(ROUND) \
	ROUND(192(AX)) \
	ROUND(208(AX))

// func xorBlocks(keys *byte, rounds int, data *byte, blocks int, high, low uint64)
TEXT ·xorBlocks(SB), NOSPLIT, $0-48
	MOVQ   keys+0(FP), AX
	MOVQ   rounds+8(FP), CX
	MOVQ   data+16(FP), DX
	MOVQ   blocks+24(FP), BX
	MOVQ   high+32(FP), SI
	MOVQ   low+40(FP), DI
	BSWAPQ SI
	MOVQ   SI, X8
	MOVQ   CX, R9
	SHLQ   $4, R9
	ADDQ   AX, R9           // the last key
	SUBQ   $4, BX
	JB     rest

four:
	COUNTER(X0)
	COUNTER(X1)
	COUNTER(X2)
	COUNTER(X3)
	BEGIN4((AX))
	NINE(ROUND4)
	CMPQ  CX, $12
	JB    lastOfFour
	TWO(ROUND4)
	JE    lastOfFour
	TWOMORE(ROUND4)

lastOfFour:
	LAST4((R9))
	MOVOU (DX), X4
	MOVOU 16(DX), X5
	MOVOU 32(DX), X6
	MOVOU 48(DX), X7
	PXOR  X4, X0
	PXOR  X5, X1
	PXOR  X6, X2
	PXOR  X7, X3
	MOVOU X0, (DX)
	MOVOU X1, 16(DX)
	MOVOU X2, 32(DX)
	MOVOU X3, 48(DX)
	ADDQ  $64, DX
	SUBQ  $4, BX
	JAE   four

rest:
	ADDQ $4, BX
	JZ   done

one:
	COUNTER(X0)
	BEGIN1((AX))
	NINE(ROUND1)
	CMPQ  CX, $12
	JB    lastOfOne
	TWO(ROUND1)
	JE    lastOfOne
	TWOMORE(ROUND1)

lastOfOne:
	LAST1((R9))
	MOVOU (DX), X4
	PXOR  X4, X0
	MOVOU X0, (DX)
	ADDQ  $16, DX
	DECQ  BX
	JNZ   one

done:
	RET

// func subWord(w uint32) uint32
TEXT ·subWord(SB), NOSPLIT, $0-12
	MOVL            w+0(FP), AX
	SHLQ            $32, AX
	MOVQ            AX, X0
	AESKEYGENASSIST $0, X0, X0
	MOVQ            X0, AX
	MOVL            AX, ret+8(FP)
	RET
