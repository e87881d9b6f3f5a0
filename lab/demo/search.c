// SPDX-License-Identifier: GPL-2.0-only
/*
 * Search RAM for a secret, through /proc/kcore: search WORD WORD WORD WORD, in hexadecimal and
 * masked. Prints the number of copies.
 */
#define _GNU_SOURCE
#include "../../tools/testing/selftests/exmem/exmem.h"
#include "search.h"

int main(int argc, char **argv)
{
	unsigned long masked[SECRET_WORDS], searched;
	int i;

	if (argc != SECRET_WORDS + 1)
		return 2;
	for (i = 0; i < SECRET_WORDS; i++)
		masked[i] = strtoul(argv[i + 1], NULL, 16);
	printf("%ld\n", search_kcore(masked, &searched));
	return 0;
}
