// SPDX-License-Identifier: GPL-2.0-only
/*
 * Use kexec to start code in a page of the pool. The page tables of kexec map all memory, and so
 * the pool. The code writes a line to the serial port, and resets the machine: the runner must not
 * start this program.
 */
#include <linux/kexec.h>
#include <linux/reboot.h>
#include <sys/syscall.h>

#include "exmem.h"

extern const char code[], code_end[];

asm(".pushsection .rodata\n"
	"code:\n"
	"movw $0x3f8, %dx\n"
	"leaq 4f(%rip), %rsi\n"
	"cld\n"
	"1: lodsb\n"
	"testb %al, %al\n"
	"je 2f\n"
	"outb %al, %dx\n"
	"jmp 1b\n"
	"2: movb $0xfe, %al\n"
	"outb %al, $0x64\n"
	"3: hlt\n"
	"jmp 3b\n"
	"4: .asciz \"\\nin a page of the pool\\n\"\n"
	"code_end:\n"
	".popsection\n");

int main(void)
{
	struct kexec_segment segment = { .buf = code, .memsz = PAGE };
	struct exmem_range range;

	if (exmem_ranges(&range, 1) < 1) {
		fprintf(stderr, "needs a pool: boot with exmem=64M\n");
		return 4;
	}
	segment.bufsz = code_end - code;
	segment.mem = (void *)(range.start + 5 * PAGE);
	if (syscall(SYS_kexec_load, segment.mem, 1UL, &segment, KEXEC_ARCH_X86_64)) {
		perror("kexec_load");
		return 1;
	}
	syscall(SYS_reboot, LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2, LINUX_REBOOT_CMD_KEXEC, NULL);
	perror("reboot");
	return 1;
}
