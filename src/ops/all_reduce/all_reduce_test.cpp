// The ops that ranks run together, on three threads.
#include "ops/all_reduce/all_reduce.h"

#include <gtest/gtest.h>

#include <thread>

#include "ops/all_gather/all_gather.h"

namespace lockstep::ops {
namespace {

constexpr int kRanks = 3;

template <class Body>
void on_every_rank(Body body) {
  RankGroup group(kRanks);
  std::vector<std::thread> threads;
  for (int rank = 0; rank < kRanks; ++rank) {
    threads.emplace_back([&, rank] {
      Communicator others{group, rank};
      ThreadPool pool(1);
      body(rank, others, pool);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST(AllReduce, EveryRankHasTheSameSumRoundedOnce) {
  for (auto* kernel : {all_reduce_ref, all_reduce_cpu}) {
    std::vector<std::vector<uint16_t>> sums(kRanks, std::vector<uint16_t>(700));
    on_every_rank([&](int rank, Communicator& others, ThreadPool& pool) {
      // 1 + 2^-8 is no bfloat16, 1 + 2^-8 + 2^-8 is.
      const std::vector<float> x(700, rank == 0 ? 1.0f : 0x1p-8f);
      kernel({x.data(), sums[static_cast<size_t>(rank)].data(), 700, DType::kFloat32,
              DType::kBFloat16, &others},
             pool);
    });
    for (const std::vector<uint16_t>& sum : sums) {
      EXPECT_EQ(bfloat16_to_float(sum.front()), 1 + 0x1p-7f);
      EXPECT_EQ(sum, std::vector<uint16_t>(700, sum.front()));
    }
  }
}

TEST(AllGather, RangesOfEveryRankComeToTheirPlaces) {
  // Two rows of [a b c d e]: rank 0 has b and e, rank 1 a, rank 2 c and d.
  const std::vector<std::vector<float>> held = {{2, 5, 20, 50}, {1, 10}, {3, 4, 30, 40}};
  const std::vector<int64_t> ranks = {0, 0, 1, 2}, bounds = {1, 2, 4, 5, 0, 1, 2, 4};
  for (auto* kernel : {all_gather_ref, all_gather_cpu}) {
    std::vector<std::vector<float>> found(kRanks, std::vector<float>(10));
    on_every_rank([&](int rank, Communicator& others, ThreadPool& pool) {
      const auto r = static_cast<size_t>(rank);
      kernel({held[r].data(), found[r].data(), ranks, bounds, 2, 5, sizeof(float), &others}, pool);
    });
    for (const std::vector<float>& whole : found) {
      EXPECT_EQ(whole, (std::vector<float>{1, 2, 3, 4, 5, 10, 20, 30, 40, 50}));
    }
  }
}

TEST(RankGroup, AStoppedGroupLetsEveryoneGoOn) {
  RankGroup group(2);
  std::thread waits([&] { EXPECT_FALSE(group.meet()); });
  group.stop();
  waits.join();
  EXPECT_FALSE(group.meet());
}

}  // namespace
}  // namespace lockstep::ops
